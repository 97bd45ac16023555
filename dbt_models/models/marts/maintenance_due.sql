{{
    config(
        indexes=[
            {'columns': ['equipment_id', 'maintenance_rule_id'], 'unique': true},
            {'columns': ['priority'], 'unique': true},
            {'columns': ['plant_code', 'status']},
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

applicable as (

    -- a machine's own rule takes the place of its group's of the same name
    select distinct on (equipment.equipment_id, rules.rule_name)
        equipment.equipment_id,
        equipment.equipment_number,
        equipment.equipment_group_id,
        plants.plant_code,
        plants.time_zone,
        plants.today,
        rules.maintenance_rule_id,
        rules.rule_name,
        rules.task,
        case when rules.equipment_id is null then 'group' else 'machine' end as rule_is_for,
        rules.scheduling,
        rules.work_type,
        rules.title_contains,
        rules.interval_hours,
        rules.interval_days,
        rules.tolerance_hours,
        rules.tolerance_days,
        rules.stated_baseline_hours,
        rules.stated_baseline_on,
        rules.stated_baseline_hours is not null or rules.stated_baseline_on is not null as has_stated_baseline
    from {{ ref('stg_cmms__equipment') }} as equipment
    inner join plants on equipment.plant_id = plants.plant_id
    inner join {{ ref('stg_cmms__maintenance_rules') }} as rules
        on equipment.equipment_id = rules.equipment_id or equipment.equipment_group_id = rules.equipment_group_id
    where equipment.is_active and rules.is_active
    order by equipment.equipment_id, rules.rule_name, (rules.equipment_id is null)

),

machines as (

    select
        machine.equipment_id,
        newest.date as last_reading_on,
        newest.lifetime_hours,
        earliest.date as first_reading_on,
        earliest.lifetime_hours as first_lifetime_hours,
        recent.running_hours / nullif(recent.days, 0) as daily_running_hours,
        coalesce(recent.days, 0) as daily_hours_over_days
    from (select distinct equipment_id, today from applicable) as machine
    left join lateral (
        select lifetime.date, lifetime.lifetime_hours
        from {{ ref('stg_cmms__lifetime_hours') }} as lifetime
        where lifetime.equipment_id = machine.equipment_id and lifetime.date <= machine.today
        order by lifetime.date desc
        limit 1
    ) as newest on true
    left join lateral (
        select lifetime.date, lifetime.lifetime_hours
        from {{ ref('stg_cmms__lifetime_hours') }} as lifetime
        where lifetime.equipment_id = machine.equipment_id and lifetime.date <= machine.today
        order by lifetime.date
        limit 1
    ) as earliest on true
    left join lateral (
        select
            sum(running_times.running_hours) as running_hours,
            sum(running_times.days_covered) as days
        from {{ ref('stg_cmms__running_times') }} as running_times
        where
            running_times.equipment_id = machine.equipment_id
            and running_times.date between machine.today - {{ var('daily_hours_days') }} and machine.today - 1
            and running_times.running_hours is not null
    ) as recent on true

),

completions as (

    select
        equipment_id,
        work_type,
        title as words,
        coalesce(completed_at, closed_at) as completed_at,
        'work order ' || work_order_number as what
    from {{ ref('stg_cmms__work_orders') }}
    where status in ('completed', 'closed')

    union all

    select
        equipment_id,
        null as work_type,
        task as words,
        completed_at,
        'planned item ' || item_name as what
    from {{ ref('stg_cmms__maintenance_schedule') }}
    where status = 'completed'

),

completed as (

    select
        applicable.equipment_id,
        applicable.maintenance_rule_id,
        count(*) as completions,
        min(completions.completed_at) as first_completed_at,
        max(completions.completed_at) as last_completed_at,
        (array_agg(completions.what order by completions.completed_at desc, completions.what))[1] as last_completion
    from applicable
    inner join completions on applicable.equipment_id = completions.equipment_id
    where
        completions.completed_at <= {{ as_of() }}
        and (applicable.work_type is null or lower(applicable.work_type) = lower(completions.work_type))
        and (applicable.title_contains is null or strpos(lower(completions.words), lower(applicable.title_contains)) > 0)
    group by applicable.equipment_id, applicable.maintenance_rule_id

),

baselines as (

    -- where counting began last (baseline), and where it began first (anchor): a fixed rule's grid starts there
    select
        applicable.*,
        machines.last_reading_on,
        machines.lifetime_hours,
        machines.first_lifetime_hours,
        machines.daily_running_hours,
        machines.daily_hours_over_days,
        coalesce(completed.completions, 0) as completions,
        case
            when completed.last_completed_at is not null then 'completion'
            when applicable.has_stated_baseline then 'stated'
            when machines.first_reading_on is not null then 'first reading'
            else 'none'
        end as baseline,
        completed.last_completion,
        case
            when completed.last_completed_at is not null
                then cast(completed.last_completed_at at time zone applicable.time_zone as date)
            when applicable.has_stated_baseline then applicable.stated_baseline_on
            else machines.first_reading_on
        end as baseline_on,
        case
            when applicable.has_stated_baseline then 'stated'
            when completed.first_completed_at is not null then 'completion'
            else 'first reading'
        end as anchor,
        case
            when applicable.has_stated_baseline then applicable.stated_baseline_on
            when completed.first_completed_at is not null
                then cast(completed.first_completed_at at time zone applicable.time_zone as date)
            else machines.first_reading_on
        end as anchor_on
    from applicable
    inner join machines on applicable.equipment_id = machines.equipment_id
    left join completed
        on
            applicable.equipment_id = completed.equipment_id
            and applicable.maintenance_rule_id = completed.maintenance_rule_id

),

counted as (

    select
        baselines.*,
        case
            when baselines.baseline = 'stated' and baselines.stated_baseline_hours is not null then baselines.stated_baseline_hours
            when baselines.baseline = 'first reading' then baselines.first_lifetime_hours
            else at_baseline.lifetime_hours
        end as baseline_lifetime_hours,
        case
            when baselines.anchor = 'stated' and baselines.stated_baseline_hours is not null then baselines.stated_baseline_hours
            when baselines.anchor = 'first reading' then baselines.first_lifetime_hours
            else at_anchor.lifetime_hours
        end as anchor_lifetime_hours
    from baselines
    left join lateral (
        -- the counter at the end of the baseline's day, or the newest before it: what ran in between counts as since
        select lifetime.lifetime_hours
        from {{ ref('stg_cmms__lifetime_hours') }} as lifetime
        where lifetime.equipment_id = baselines.equipment_id and lifetime.date <= baselines.baseline_on
        order by lifetime.date desc
        limit 1
    ) as at_baseline on true
    left join lateral (
        select lifetime.lifetime_hours
        from {{ ref('stg_cmms__lifetime_hours') }} as lifetime
        where lifetime.equipment_id = baselines.equipment_id and lifetime.date <= baselines.anchor_on
        order by lifetime.date desc
        limit 1
    ) as at_anchor on true

),

reasoned as (

    select
        *,
        case
            when interval_hours is null then null
            when lifetime_hours is null then 'no counter was read'
            when baseline_lifetime_hours is null then 'no counter was read on or before the day of the baseline'
            when scheduling = 'fixed' and anchor_lifetime_hours is null
                then 'no counter was read on or before the day of the first baseline'
            when lifetime_hours < baseline_lifetime_hours then 'the baseline is beyond the newest counter'
        end as hours_unknown_because,
        case
            when interval_days is null then null
            when baseline = 'none' then 'nothing was completed or read'
            when baseline_on is null or (scheduling = 'fixed' and anchor_on is null) then 'the stated baseline has no day'
        end as days_unknown_because
    from counted

),

points as (

    -- work that was done within the tolerance before a point of the grid was done for that point
    select
        *,
        case
            when hours_unknown_because is not null then null
            when scheduling = 'floating' then baseline_lifetime_hours + interval_hours
            else
                anchor_lifetime_hours + interval_hours * greatest(
                    floor((baseline_lifetime_hours + tolerance_hours - anchor_lifetime_hours) / interval_hours) + 1, 1
                )
        end as due_at_lifetime_hours,
        case
            when days_unknown_because is not null then null
            when scheduling = 'floating' then baseline_on + interval_days
            else
                anchor_on + interval_days * greatest(
                    cast(floor((baseline_on + tolerance_days - anchor_on) / cast(interval_days as numeric)) as integer) + 1, 1
                )
        end as due_on
    from reasoned

),

ranked as (

    select
        *,
        due_at_lifetime_hours - lifetime_hours as hours_left,
        due_on - today as days_left,
        case
            when interval_hours is null then null
            when hours_unknown_because is not null then 1
            when due_at_lifetime_hours - lifetime_hours > tolerance_hours then 0
            when due_at_lifetime_hours > lifetime_hours then 2
            when due_at_lifetime_hours - lifetime_hours >= -tolerance_hours then 3
            else 4
        end as hours_rank,
        case
            when interval_days is null then null
            when days_unknown_because is not null then 1
            when due_on - today > tolerance_days then 0
            when due_on > today then 2
            when due_on - today >= -tolerance_days then 3
            else 4
        end as days_rank
    from points

),

expected as (

    select
        *,
        greatest(hours_rank, days_rank) as worst_rank,
        case
            when hours_left <= 0 then last_reading_on
            when daily_running_hours > 0 and hours_left / daily_running_hours < 36500
                then last_reading_on + cast(ceil(hours_left / daily_running_hours) as integer)
        end as expected_on_by_hours,
        case
            when interval_hours is null or hours_left <= 0 then null
            when hours_left is null then hours_unknown_because
            when daily_hours_over_days = 0 then 'no hours are known of the last {{ var("daily_hours_days") }} days'
            when daily_running_hours = 0 then 'it did not run in the last {{ var("daily_hours_days") }} days'
            when hours_left / daily_running_hours >= 36500 then 'it runs too little'
        end as not_expected_because
    from ranked

),

final as (

    select

        ---------- ids
        equipment_id,
        equipment_number,
        equipment_group_id,
        plant_code,
        maintenance_rule_id,

        ---------- text
        rule_name,
        task,
        rule_is_for,
        scheduling,
        (array['ok', 'unknown', 'due_soon', 'due', 'overdue'])[worst_rank + 1] as status,
        (array['ok', 'unknown', 'due_soon', 'due', 'overdue'])[hours_rank + 1] as hours_status,
        (array['ok', 'unknown', 'due_soon', 'due', 'overdue'])[days_rank + 1] as calendar_status,
        baseline,
        case when baseline = 'completion' then last_completion end as baseline_work,
        nullif(concat_ws('; ', hours_unknown_because, days_unknown_because), '') as unknown_because,
        not_expected_because,

        ---------- numerics
        row_number() over (
            order by
                worst_rank desc,
                least(expected_on_by_hours, due_on) nulls last,
                hours_left nulls last,
                equipment_number,
                rule_name
        ) as priority,
        interval_hours,
        interval_days,
        tolerance_hours,
        tolerance_days,
        completions,
        lifetime_hours,
        cast(baseline_lifetime_hours as numeric(18, 4)) as baseline_lifetime_hours,
        cast(case when hours_unknown_because is null then lifetime_hours - baseline_lifetime_hours end as numeric(18, 4))
            as hours_since,
        cast(due_at_lifetime_hours as numeric(18, 4)) as due_at_lifetime_hours,
        cast(hours_left as numeric(18, 4)) as hours_left,
        today - baseline_on as days_since,
        days_left,
        cast(daily_running_hours as numeric(18, 4)) as daily_running_hours,
        daily_hours_over_days,

        ---------- booleans
        worst_rank >= 3 as needs_maintenance,

        ---------- dates
        last_reading_on,
        baseline_on,
        due_on,
        expected_on_by_hours,
        least(expected_on_by_hours, due_on) as expected_due_on,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from expected

)

select * from final
