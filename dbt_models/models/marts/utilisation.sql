{{
    config(
        indexes=[
            {'columns': ['equipment_id', 'date'], 'unique': true},
            {'columns': ['plant_code', 'date']},
        ]
    )
}}

with

plants as (

    -- yesterday at the machine is the last day that can be complete
    select
        *,
        cast({{ as_of() }} at time zone time_zone as date) - 1 as last_day,
        cast({{ as_of() }} at time zone time_zone as date) - {{ var('utilisation_days') }} as first_day
    from {{ ref('stg_cmms__plants') }}

),

equipment as (

    select * from {{ ref('stg_cmms__equipment') }}

),

-- a time zone shifts a day by one and a reading may cover days before its own: a bound without the plant lets partitions be skipped
recent_running_times as (

    select * from {{ ref('stg_cmms__running_times') }}
    where date >= cast({{ as_of() }} at time zone 'UTC' as date) - {{ var('utilisation_days') }} - 2

),

first_readings as (

    select
        equipment_id,
        min(date) as first_reading_on
    from {{ ref('stg_cmms__running_times') }}
    group by equipment_id

),

machine_days as (

    -- every day from a machine's first reading on, so that a day without one is a row and not an absence
    select
        equipment.equipment_id,
        equipment.equipment_number,
        equipment.equipment_group_id,
        plants.plant_code,
        plants.time_zone,
        cast(days.day as date) as date
    from equipment
    inner join plants on equipment.plant_id = plants.plant_id
    inner join first_readings on equipment.equipment_id = first_readings.equipment_id
    cross join
        lateral generate_series(
            greatest(plants.first_day, first_readings.first_reading_on), plants.last_day, interval '1 day'
        ) as days (day)
    where equipment.is_active

),

final as (

    select

        ---------- ids
        machine_days.equipment_id,
        machine_days.equipment_number,
        machine_days.equipment_group_id,
        machine_days.plant_code,

        ---------- numerics
        running_times.running_hours,
        running_times.days_covered,
        {{ local_hours('machine_days.date - coalesce(running_times.days_covered, 1) + 1', 'machine_days.date + 1', 'machine_days.time_zone') }}
            as calendar_hours,
        cast(
            running_times.running_hours
            / {{ local_hours('machine_days.date - coalesce(running_times.days_covered, 1) + 1', 'machine_days.date + 1', 'machine_days.time_zone') }}
            as double precision
        ) as utilisation,

        ---------- booleans
        running_times.equipment_id is null as is_gap,

        ---------- dates
        machine_days.date,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from machine_days
    left join recent_running_times as running_times
        on machine_days.equipment_id = running_times.equipment_id and machine_days.date = running_times.date

)

select * from final
