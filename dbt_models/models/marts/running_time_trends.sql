{{
    config(
        materialized='incremental',
        unique_key=['period', 'period_started_on', 'equipment_id'],
        incremental_strategy='delete+insert',
        on_schema_change='fail',
        indexes=[
            {'columns': ['equipment_id', 'period', 'period_started_on'], 'unique': true},
            {'columns': ['plant_code', 'period', 'period_started_on']},
        ]
    )
}}

with

plants as (

    select
        *,
        cast({{ as_of() }} at time zone time_zone as date) - 1 as last_day
    from {{ ref('stg_cmms__plants') }}

),

equipment as (

    select * from {{ ref('stg_cmms__equipment') }}

),

running_times as (

    select * from {{ ref('stg_cmms__running_times') }}

),

periods as (

    select *
    from (values ('day', interval '1 day'), ('week', interval '7 days'), ('month', interval '1 month')) as known (period, length)

),

changed as (

    -- a period is computed anew as a whole when one of its readings changed since the build before, however old it is
    select distinct
        running_times.equipment_id,
        periods.period,
        cast(date_trunc(periods.period, cast(running_times.date as timestamp)) as date) as period_started_on,
        cast(date_trunc(periods.period, cast(running_times.date as timestamp)) + periods.length as date) as next_started_on
    from running_times
    inner join equipment on running_times.equipment_id = equipment.equipment_id
    inner join plants on equipment.plant_id = plants.plant_id
    cross join periods
    where
        running_times.date <= plants.last_day
        {% if is_incremental() %}
            and (
                running_times.updated_at
                >= (select max(this.built_as_of) - interval '{{ var("settle_minutes") }} minutes' from {{ this }} as this)
                -- a period that was not over then has more days now, and a day that is over now was not counted then
                or running_times.date
                >= (select cast(max(this.built_as_of) - interval '32 days' as date) from {{ this }} as this)
            )
        {% endif %}

),

final as (

    select

        ---------- ids
        changed.equipment_id,
        equipment.equipment_number,
        plants.plant_code,

        ---------- text
        changed.period,

        ---------- numerics
        cast(sum(running_times.running_hours) as numeric(18, 4)) as running_hours,
        count(running_times.running_hours) as readings,
        least(changed.next_started_on - 1, plants.last_day) - changed.period_started_on + 1 as days_elapsed,
        least(
            coalesce(sum(running_times.days_covered) filter (where running_times.running_hours is not null), 0),
            least(changed.next_started_on - 1, plants.last_day) - changed.period_started_on + 1
        ) as days_known,

        ---------- booleans
        changed.next_started_on <= plants.last_day + 1 as is_over,

        ---------- dates
        changed.period_started_on,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from changed
    inner join equipment on changed.equipment_id = equipment.equipment_id
    inner join plants on equipment.plant_id = plants.plant_id
    inner join running_times
        on
            changed.equipment_id = running_times.equipment_id
            and changed.period_started_on <= running_times.date
            and changed.next_started_on > running_times.date
            and plants.last_day >= running_times.date
    group by
        changed.equipment_id, equipment.equipment_number, plants.plant_code, changed.period, changed.period_started_on,
        changed.next_started_on, plants.last_day

)

select * from final
