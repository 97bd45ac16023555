{{
    config(
        indexes=[
            {'columns': ['level', 'plant_code', 'equipment_number'], 'unique': true},
        ]
    )
}}

with

plants as (

    select
        *,
        cast({{ as_of() }} at time zone time_zone as date) as today
    from {{ ref('stg_cmms__plants') }}

),

equipment as (

    select
        equipment.equipment_id,
        equipment.equipment_number,
        plants.plant_code,
        plants.time_zone,
        plants.today
    from {{ ref('stg_cmms__equipment') }} as equipment
    inner join plants on equipment.plant_id = plants.plant_id

),

known_orders as (

    select
        equipment_id,
        count(*) as work_orders
    from {{ ref('stg_cmms__work_orders') }}
    where equipment_id is not null
    group by equipment_id

),

known_failures as (

    select
        equipment_id,
        count(*) as failures_told,
        count(*) filter (where failed_at is null) as failures_without_time,
        min(failed_at) as first_failed_at
    from {{ ref('stg_cmms__failures') }}
    where equipment_id is not null and coalesce(failed_at, {{ as_of() }}) <= {{ as_of() }}
    group by equipment_id

),

observed as (

    -- a machine is observed from its first reading or failure on, for the days of the window at most
    select
        equipment.*,
        coalesce(known_orders.work_orders, 0) as work_orders,
        coalesce(known_failures.failures_told, 0) as failures_told,
        coalesce(known_failures.failures_without_time, 0) as failures_without_time,
        greatest(
            least(cast(earliest.date as timestamp) at time zone equipment.time_zone, known_failures.first_failed_at),
            cast(equipment.today - {{ var('reliability_days') }} as timestamp) at time zone equipment.time_zone
        ) as observed_from
    from equipment
    left join known_orders on equipment.equipment_id = known_orders.equipment_id
    left join known_failures on equipment.equipment_id = known_failures.equipment_id
    left join lateral (
        select running_times.date
        from {{ ref('stg_cmms__running_times') }} as running_times
        where running_times.equipment_id = equipment.equipment_id
        order by running_times.date
        limit 1
    ) as earliest on true

),

judged as (

    select
        *,
        case
            when failures_told = 0 and work_orders = 0 then 'no failure and no work order of it is known'
            when failures_told = 0 then 'no failure of it is known'
            when work_orders = 0 then 'no work order of it is known'
            when failures_without_time > 0 then 'a failure has no time'
        end as unknown_because
    from observed

),

failures as (

    select
        judged.equipment_id,
        count(*) filter (where failures.failed_at >= judged.observed_from) as failures,
        count(*) filter (
            where
            failures.failed_at >= judged.observed_from
            and failures.repaired_at between failures.failed_at and {{ as_of() }}
        ) as repairs,
        sum(extract(epoch from failures.repaired_at - failures.failed_at) / 3600) filter (
            where
            failures.failed_at >= judged.observed_from
            and failures.repaired_at between failures.failed_at and {{ as_of() }}
        ) as repair_hours,
        -- failures that overlap are one stretch of downtime
        range_agg(
            tstzrange(
                greatest(failures.failed_at, judged.observed_from),
                greatest(
                    least(coalesce(failures.repaired_at, {{ as_of() }}), {{ as_of() }}), failures.failed_at, judged.observed_from
                )
            )
        ) as downtimes
    from judged
    inner join {{ ref('stg_cmms__failures') }} as failures on judged.equipment_id = failures.equipment_id
    where judged.unknown_because is null and failures.failed_at <= {{ as_of() }}
    group by judged.equipment_id

),

running as (

    select
        judged.equipment_id,
        sum(running_times.running_hours) as running_hours
    from judged
    inner join {{ ref('stg_cmms__running_times') }} as running_times on judged.equipment_id = running_times.equipment_id
    where
        judged.unknown_because is null
        and running_times.date between cast(judged.observed_from at time zone judged.time_zone as date) and judged.today - 1
    group by judged.equipment_id

),

machines as (

    select
        judged.plant_code,
        judged.equipment_number,
        judged.unknown_because,
        judged.work_orders,
        judged.failures_told,
        judged.unknown_because is null as is_known,
        failures.failures,
        failures.repairs,
        failures.repair_hours,
        running.running_hours,
        case
            when judged.unknown_because is null
                then extract(epoch from {{ as_of() }} - judged.observed_from) / 3600
        end as observed_hours,
        case
            when judged.unknown_because is null
                then (
                    select coalesce(sum(extract(epoch from upper(downtime) - lower(downtime))) / 3600, 0)
                    from unnest(failures.downtimes) as stretches (downtime)
                    where not isempty(downtime)
                )
        end as downtime_hours
    from judged
    left join failures on judged.equipment_id = failures.equipment_id
    left join running on judged.equipment_id = running.equipment_id

),

summed as (

    select
        case when grouping(equipment_number) = 0 then 'machine' else 'plant' end as level,
        plant_code,
        equipment_number,
        count(*) as machines,
        count(*) filter (where is_known) as machines_known,
        sum(work_orders) as work_orders,
        sum(failures_told) as failures_told,
        sum(failures) as failures,
        sum(repairs) as repairs,
        sum(repair_hours) as repair_hours,
        sum(running_hours) as running_hours,
        sum(observed_hours) as observed_hours,
        sum(downtime_hours) as downtime_hours,
        case
            when count(*) filter (where is_known) > 0 then null
            when grouping(equipment_number) = 0 then min(unknown_because)
            else 'of no machine are both failures and work orders known'
        end as unknown_because
    from machines
    group by grouping sets ((plant_code, equipment_number), (plant_code))

),

final as (

    select

        ---------- ids
        plant_code,
        equipment_number,

        ---------- text
        level,
        case
            when unknown_because is not null then unknown_because
            when failures = 0 then 'no failure in the last {{ var("reliability_days") }} days'
            when running_hours is null then 'no running hours are known'
        end as mtbf_unknown_because,
        case
            when unknown_because is not null then unknown_because
            when failures = 0 then 'no failure in the last {{ var("reliability_days") }} days'
            when repair_hours is null then 'no failure was repaired'
        end as mttr_unknown_because,
        unknown_because as availability_unknown_because,

        ---------- numerics
        machines,
        machines_known,
        cast(work_orders as bigint) as work_orders,
        cast(failures_told as bigint) as failures_told,
        cast(failures as bigint) as failures,
        cast(repairs as bigint) as repairs,
        cast(running_hours as double precision) as running_hours,
        cast(observed_hours as double precision) as observed_hours,
        cast(downtime_hours as double precision) as downtime_hours,
        cast(running_hours / nullif(failures, 0) as double precision) as mtbf_h,
        cast(repair_hours / nullif(repairs, 0) as double precision) as mttr_h,
        cast(1 - downtime_hours / nullif(observed_hours, 0) as double precision) as availability,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from summed

)

select * from final
