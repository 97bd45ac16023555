{{
    config(
        indexes=[
            {'columns': ['equipment_id'], 'unique': true},
            {'columns': ['equipment_number'], 'unique': true},
            {'columns': ['plant_code']},
        ]
    )
}}

with

plants as (

    -- "today" is the business day at the machine, not the day in UTC
    select
        *,
        cast({{ as_of() }} at time zone time_zone as date) as today
    from {{ ref('stg_cmms__plants') }}

),

equipment as (

    select * from {{ ref('stg_cmms__equipment') }}

),

equipment_groups as (

    select * from {{ ref('stg_cmms__equipment_groups') }}

),

-- the widest window is 30 days and a time zone shifts a day by one: a bound without the plant lets old partitions be skipped
recent_running_times as (

    select * from {{ ref('stg_cmms__running_times') }}
    where date >= cast({{ as_of() }} at time zone 'UTC' as date) - 32

),

recent_hours as (

    select
        equipment.equipment_id,
        count(*) as readings_last_30_days,
        sum(recent_running_times.running_hours) as running_hours_last_30_days,
        sum(recent_running_times.running_hours)
            filter (where recent_running_times.date >= plants.today - 7) as running_hours_last_7_days
    from recent_running_times
    inner join equipment on recent_running_times.equipment_id = equipment.equipment_id
    inner join plants on equipment.plant_id = plants.plant_id
    where recent_running_times.date between plants.today - 30 and plants.today - 1
    group by equipment.equipment_id

),

open_work_orders as (

    select
        equipment_id,
        count(*) as open_work_orders
    from {{ ref('stg_cmms__work_orders') }}
    where is_open and equipment_id is not null
    group by equipment_id

),

open_rejections as (

    select
        equipment_number,
        count(*) as open_rejections,
        bool_or(severity in ('critical', 'error')) as has_sync_errors
    from {{ ref('stg_cmms__sync_rejections') }}
    where status = 'open' and equipment_number is not null
    group by equipment_number

),

syncs_of_plants as (

    -- the newest sync of each kind that ended and was asked for the plant as a whole
    select distinct on (plants.plant_id, sync_logs.sync_type)
        plants.plant_id,
        sync_logs.sync_type,
        sync_logs.status
    from plants
    inner join {{ ref('stg_cmms__api_sync_logs') }} as sync_logs
        on
            sync_logs.scope -> 'plants' is null
            or jsonb_typeof(sync_logs.scope -> 'plants') = 'string'
            or sync_logs.scope -> 'plants' @> to_jsonb(plants.plant_code)
    where
        sync_logs.sync_type in ('equipment', 'running_times')
        and sync_logs.status in ('success', 'partial', 'failed')
        and coalesce(jsonb_typeof(sync_logs.scope -> 'equipment'), 'string') <> 'array'
    order by plants.plant_id, sync_logs.sync_type, sync_logs.sync_started_at desc, sync_logs.sync_log_id desc

),

failed_syncs as (

    select
        plant_id,
        string_agg(sync_type, ', ' order by sync_type) as failed_syncs
    from syncs_of_plants
    where status = 'failed'
    group by plant_id

),

maintenance as (

    -- the worst of its rules
    select distinct on (equipment_id)
        equipment_id,
        status,
        needs_maintenance
    from {{ ref('maintenance_due') }}
    order by equipment_id, priority

),

final as (

    select

        ---------- ids
        equipment.equipment_id,
        equipment.equipment_number,
        plants.plant_id,
        plants.plant_code,
        equipment.equipment_group_id,

        ---------- text
        equipment.equipment_description,
        equipment.company_code,
        equipment.object_number,
        equipment.point,
        plants.plant_name,
        equipment_groups.equipment_group_name,
        coalesce(maintenance.status, 'no rule') as maintenance_status,
        failed_syncs.failed_syncs,

        ---------- numerics
        last_reading.running_hours as last_running_hours,
        last_counter.cumulative_hours as last_cumulative_hours,
        cast(coalesce(recent_hours.running_hours_last_7_days, 0) as numeric(18, 4)) as running_hours_last_7_days,
        cast(coalesce(recent_hours.running_hours_last_30_days, 0) as numeric(18, 4)) as running_hours_last_30_days,
        coalesce(recent_hours.readings_last_30_days, 0) as readings_last_30_days,
        plants.today - last_reading.date as days_since_last_reading,
        coalesce(open_work_orders.open_work_orders, 0) as open_work_orders,
        coalesce(open_rejections.open_rejections, 0) as open_rejections,

        ---------- booleans
        equipment.is_active,
        equipment.created_at > {{ as_of() }} - interval '7 days' as is_recently_added,
        coalesce(maintenance.needs_maintenance, false) as needs_maintenance,
        coalesce(open_rejections.open_rejections, 0) > 0 as has_open_rejections,
        coalesce(open_rejections.has_sync_errors, false) or failed_syncs.failed_syncs is not null as has_sync_errors,

        ---------- dates
        last_reading.date as last_reading_on,

        ---------- timestamps
        equipment.created_at,
        equipment.updated_at,
        {{ as_of() }} as built_as_of

    from equipment
    inner join plants on equipment.plant_id = plants.plant_id
    left join equipment_groups on equipment.equipment_group_id = equipment_groups.equipment_group_id
    left join recent_hours on equipment.equipment_id = recent_hours.equipment_id
    left join open_work_orders on equipment.equipment_id = open_work_orders.equipment_id
    left join open_rejections on equipment.equipment_number = open_rejections.equipment_number
    left join failed_syncs on equipment.plant_id = failed_syncs.plant_id and equipment.is_active
    left join maintenance on equipment.equipment_id = maintenance.equipment_id
    left join lateral (
        select running_times.date, running_times.running_hours
        from {{ ref('stg_cmms__running_times') }} as running_times
        where running_times.equipment_id = equipment.equipment_id and running_times.date <= plants.today
        order by running_times.date desc
        limit 1
    ) as last_reading on true
    left join lateral (
        select running_times.cumulative_hours
        from {{ ref('stg_cmms__running_times') }} as running_times
        where
            running_times.equipment_id = equipment.equipment_id
            and running_times.date <= plants.today
            and running_times.cumulative_hours is not null
        order by running_times.date desc
        limit 1
    ) as last_counter on true

)

select * from final
