{{
    config(
        indexes=[
            {'columns': ['plant_code'], 'unique': true},
        ]
    )
}}

with

plants as (

    -- yesterday at the plant is the newest day that can be complete
    select
        *,
        cast({{ as_of() }} at time zone time_zone as date) - 1 as expected_on
    from {{ ref('stg_cmms__plants') }}

),

equipment as (

    select * from {{ ref('stg_cmms__equipment') }}

),

newest_by_machine as (

    select
        running_times.equipment_id,
        max(running_times.date) as newest_on,
        max(running_times.updated_at) as changed_at
    from {{ ref('stg_cmms__running_times') }} as running_times
    inner join equipment on running_times.equipment_id = equipment.equipment_id
    inner join plants on equipment.plant_id = plants.plant_id
    where running_times.date <= plants.expected_on
    group by running_times.equipment_id

),

by_plant as (

    select
        plants.plant_id,
        count(equipment.equipment_id) filter (where equipment.is_active) as active_machines,
        count(equipment.equipment_id) filter (where equipment.is_active and newest_by_machine.newest_on = plants.expected_on)
            as machines_read,
        count(equipment.equipment_id) filter (where equipment.is_active and newest_by_machine.newest_on is null)
            as machines_never_read,
        max(newest_by_machine.newest_on) as newest_reading_on,
        max(newest_by_machine.changed_at) as last_changed_at
    from plants
    left join equipment on plants.plant_id = equipment.plant_id
    left join newest_by_machine on equipment.equipment_id = newest_by_machine.equipment_id
    group by plants.plant_id

),

final as (

    select

        ---------- ids
        plants.plant_id,
        plants.plant_code,

        ---------- text
        plants.plant_name,
        case
            when not plants.is_active then 'inactive'
            when by_plant.active_machines = 0 then 'no machines'
            when by_plant.newest_reading_on is null then 'never read'
            when by_plant.newest_reading_on < plants.expected_on then 'late'
            else 'fresh'
        end as freshness,

        ---------- numerics
        by_plant.active_machines,
        by_plant.machines_read,
        by_plant.machines_never_read,
        plants.expected_on - by_plant.newest_reading_on as days_late,

        ---------- booleans
        plants.is_active,

        ---------- dates
        plants.expected_on,
        by_plant.newest_reading_on,

        ---------- timestamps
        by_plant.last_changed_at,
        {{ as_of() }} as built_as_of

    from plants
    inner join by_plant on plants.plant_id = by_plant.plant_id

)

select * from final
