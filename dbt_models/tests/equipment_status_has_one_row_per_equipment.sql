-- Machines without a row (apart from those too young to have been seen by the build), and rows without a machine.
with

equipment as (

    select * from {{ ref('stg_cmms__equipment') }}

),

equipment_status as (

    select * from {{ ref('equipment_status') }}

),

built as (

    select max(built_as_of) as built_as_of from equipment_status

)

select
    coalesce(equipment.equipment_id, equipment_status.equipment_id) as equipment_id,
    count(equipment_status.equipment_id) as rows_in_mart
from equipment
full outer join equipment_status on equipment.equipment_id = equipment_status.equipment_id
cross join built
where
    equipment.equipment_id is null
    or equipment.created_at
    < coalesce(built.built_as_of, {{ as_of() }}) - make_interval(mins => {{ var('settle_minutes') }})
group by 1
having count(equipment.equipment_id) <> 1 or count(equipment_status.equipment_id) <> 1
