{{
    config(
        indexes=[
            {'columns': ['received_on', 'cmms_system_id', 'event_type'], 'unique': true},
        ]
    )
}}

with

events as (

    select
        cmms_system_id,
        event_type,
        cast(received_at at time zone '{{ var("time_zone") }}' as date) as received_on,
        count(*) as events_received,
        count(*) filter (where processing_status = 'pending') as events_pending,
        count(*) filter (where processing_status = 'held') as events_held,
        count(*) filter (where processing_status = 'processed') as events_processed,
        count(*) filter (where processing_status = 'ignored') as events_ignored,
        count(*) filter (where processing_status = 'quarantined') as events_quarantined,
        count(*) filter (where processing_status = 'dead_letter') as dead_letters,
        count(*) filter (where retries_total > 0) as events_retried,
        count(*) filter (where retries_total > 0 and processing_status in ('processed', 'ignored')) as events_retried_successfully,
        count(*) filter (where processing_status = 'dead_letter' and outcome_rule = 'retries_exhausted') as events_retries_exhausted,
        count(*) filter (
            where processing_status = 'dead_letter' and outcome_rule is distinct from 'retries_exhausted'
        ) as events_poison,
        count(*) filter (where origin = 'sweep') as events_found_by_sweep,
        sum(retries_total) as retries,
        sum(replays) as replays,
        percentile_cont(0.50) within group (order by latency_ms) as latency_p50_ms,
        percentile_cont(0.95) within group (order by latency_ms) as latency_p95_ms,
        percentile_cont(0.99) within group (order by latency_ms) as latency_p99_ms
    from {{ ref('stg_cmms__maintenance_event_hooks') }}
    group by 1, 2, 3

),

duplicates as (

    select
        cmms_system_id,
        event_type,
        cast(delivered_at_minute at time zone '{{ var("time_zone") }}' as date) as received_on,
        sum(deliveries) as duplicates
    from {{ ref('stg_cmms__delivery_counts') }}
    where outcome = 'duplicate'
    group by 1, 2, 3

),

refusals_by_reason as (

    select
        cmms_system_id,
        reason,
        cast(refused_at at time zone '{{ var("time_zone") }}' as date) as received_on,
        sum(refusals) as refusals
    from {{ ref('stg_cmms__hook_refusals') }}
    group by 1, 2, 3

),

refusals as (

    -- refused before the body is read: the type is not known
    select
        cmms_system_id,
        cast('(unread)' as varchar(50)) as event_type,
        received_on,
        sum(refusals) as refused,
        jsonb_object_agg(reason, refusals) as refused_by_reason
    from refusals_by_reason
    group by 1, 2, 3

),

final as (

    select

        ---------- ids
        cast(cmms_system_id as varchar(300)) as cmms_system_id,

        ---------- text
        event_type,
        coalesce(refusals.refused_by_reason, '{}') as refused_by_reason,

        ---------- numerics
        coalesce(events.events_received, 0) as events_received,
        cast(coalesce(duplicates.duplicates, 0) as bigint) as duplicates,
        cast(coalesce(refusals.refused, 0) as bigint) as refused,
        coalesce(events.events_pending, 0) as events_pending,
        coalesce(events.events_held, 0) as events_held,
        coalesce(events.events_processed, 0) as events_processed,
        coalesce(events.events_ignored, 0) as events_ignored,
        coalesce(events.events_quarantined, 0) as events_quarantined,
        coalesce(events.dead_letters, 0) as dead_letters,
        coalesce(events.events_retried, 0) as events_retried,
        coalesce(events.events_retried_successfully, 0) as events_retried_successfully,
        coalesce(events.events_retries_exhausted, 0) as events_retries_exhausted,
        coalesce(events.events_poison, 0) as events_poison,
        coalesce(events.events_found_by_sweep, 0) as events_found_by_sweep,
        cast(events.events_retried_successfully as double precision)
            / nullif(events.events_retried_successfully + events.events_retries_exhausted, 0) as retry_success,
        coalesce(events.retries, 0) as retries,
        coalesce(events.replays, 0) as replays,
        events.latency_p50_ms,
        events.latency_p95_ms,
        events.latency_p99_ms,

        ---------- dates
        received_on,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from events
    full join duplicates using (received_on, cmms_system_id, event_type)
    full join refusals using (received_on, cmms_system_id, event_type)

)

select * from final
