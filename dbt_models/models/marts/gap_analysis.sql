{{
    config(
        indexes=[
            {'columns': ['equipment_id', 'gap_started_on'], 'unique': true},
            {'columns': ['plant_code']},
        ]
    )
}}

with

plants as (

    -- yesterday at the machine is the last day that can be complete
    select
        *,
        cast({{ as_of() }} at time zone time_zone as date) - 1 as last_day
    from {{ ref('stg_cmms__plants') }}

),

equipment as (

    select * from {{ ref('stg_cmms__equipment') }}

),

readings as (

    select
        running_times.equipment_id,
        running_times.date,
        running_times.days_covered,
        lead(running_times.date) over (partition by running_times.equipment_id order by running_times.date) as next_date,
        lead(running_times.days_covered)
            over (partition by running_times.equipment_id order by running_times.date) as next_days_covered
    from {{ ref('stg_cmms__running_times') }} as running_times
    inner join equipment on running_times.equipment_id = equipment.equipment_id
    inner join plants on equipment.plant_id = plants.plant_id
    where running_times.date <= plants.last_day

),

gaps as (

    -- a gap is what lies between two readings that follow each other, or between the last one and yesterday
    select
        equipment.equipment_id,
        equipment.equipment_number,
        equipment.equipment_group_id,
        plants.plant_code,
        equipment.is_active,
        readings.date + 1 as gap_started_on,
        coalesce(readings.next_date - 1, plants.last_day) as gap_ended_on,
        readings.next_date is null as is_open,
        coalesce(least(readings.next_days_covered, readings.next_date - readings.date) - 1, 0) as days_covered_later
    from readings
    inner join equipment on readings.equipment_id = equipment.equipment_id
    inner join plants on equipment.plant_id = plants.plant_id
    where coalesce(readings.next_date - 1, plants.last_day) > readings.date

),

final as (

    select

        ---------- ids
        equipment_id,
        equipment_number,
        equipment_group_id,
        plant_code,

        ---------- numerics
        gap_ended_on - gap_started_on + 1 as days_missing,
        cast(greatest(days_covered_later, 0) as integer) as days_covered_later,

        ---------- booleans
        is_active,
        is_open,

        ---------- dates
        gap_started_on,
        gap_ended_on,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from gaps

)

select * from final
