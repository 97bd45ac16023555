{{
    config(
        materialized='incremental',
        unique_key='date',
        incremental_strategy='delete+insert',
        on_schema_change='append_new_columns',
        full_refresh=false,
        indexes=[
            {'columns': ['date'], 'unique': true},
        ]
    )
}}

{#- What the days are made of is cleaned up long before the days are: a day that has settled is not computed again. -#}
{%- set unavailable = ['database_unavailable', 'sources_unavailable', 'configuration_unusable', 'secret_unusable', 'overloaded'] -%}

with

bounds as (

    select
        {% if is_incremental() %}
            (
                select {{ local_date('max(this.built_as_of)') }} - {{ var('kpi_settle_days') }}
                from {{ this }} as this
            ) as first_day,
        {% else %}
            least(
                (select {{ local_date('min(sync_started_at)') }} from {{ ref('stg_cmms__api_sync_logs') }}),
                (select {{ local_date('min(first_seen_at)') }} from {{ ref('stg_cmms__sync_rejections') }}),
                (select {{ local_date('min(started_at)') }} from {{ ref('stg_cmms__api_calls') }}),
                (select {{ local_date('min(received_at)') }} from {{ ref('stg_cmms__maintenance_event_hooks') }}),
                (select {{ local_date('min(delivered_at_minute)') }} from {{ ref('stg_cmms__delivery_counts') }}),
                (select {{ local_date('min(created_at)') }} from {{ ref('stg_cmms__sync_conflicts') }}),
                {{ local_date(as_of()) }}
            ) as first_day,
        {% endif %}
        {{ local_date(as_of()) }} as last_day

),

days as (

    select
        cast(days.day as date) as date,
        bounds.last_day
    from bounds
    cross join lateral generate_series(bounds.first_day, bounds.last_day, interval '1 day') as days (day)

),

ended_syncs as (

    select
        *,
        {{ local_date('sync_started_at') }} as date,
        cast(extract(epoch from sync_completed_at - sync_started_at) as double precision) as duration_s,
        cast(stage_seconds ->> 'copy' as double precision) + cast(stage_seconds ->> 'merge' as double precision)
            + coalesce(cast(stage_seconds ->> 'quarantine' as double precision), 0) as write_s
    from {{ ref('stg_cmms__api_sync_logs') }}
    where status in ('success', 'partial', 'failed')

),

syncs as (

    select
        date,
        count(*) as syncs,
        count(*) filter (where status = 'failed') as syncs_failed,
        count(*) filter (where status = 'partial') as syncs_partial,
        sum(records_processed) as records_processed,
        sum(records_failed) as records_refused,
        sum(records_processed) / nullif(sum(duration_s), 0) as records_per_s,
        sum(write_s) as database_write_s,
        sum(write_s) * 1000000 / nullif(sum(records_processed) filter (where write_s is not null), 0) as database_write_us_per_record
    from ended_syncs
    group by date

),

refusals_by_rule as (

    select
        {{ local_date('first_seen_at') }} as date,
        rule,
        count(*) as refusals
    from {{ ref('stg_cmms__sync_rejections') }}
    group by 1, 2

),

refusals as (

    select
        date,
        jsonb_object_agg(rule, refusals) as first_refused_by_rule
    from refusals_by_rule
    group by date

),

api as (

    select
        {{ local_date('started_at') }} as date,
        count(*) as api_calls,
        count(*) filter (where has_failed) as api_calls_failed,
        percentile_cont(array[0.50, 0.95, 0.99]) within group (order by duration_ms) as ms
    from {{ ref('stg_cmms__api_calls') }}
    group by 1

),

events as (

    select
        {{ local_date('received_at') }} as date,
        count(*) as events_received,
        count(*) filter (where processing_status in ('processed', 'ignored')) as events_applied,
        count(*) filter (where processing_status = 'dead_letter') as dead_letters,
        count(*) filter (where retries_total > 0 and processing_status in ('processed', 'ignored')) as retries_recovered,
        count(*) filter (where processing_status = 'dead_letter' and outcome_rule = 'retries_exhausted') as retries_exhausted,
        percentile_cont(array[0.50, 0.95, 0.99]) within group (order by latency_ms) as ms
    from {{ ref('stg_cmms__maintenance_event_hooks') }}
    group by 1

),

conflicts as (

    select
        {{ local_date('created_at') }} as date,
        count(*) as conflicts,
        count(*) filter (where status in ('resolved', 'undone') and is_automatic) as conflicts_automatic
    from {{ ref('stg_cmms__sync_conflicts') }}
    group by 1

),

requests_by_kind as (

    select
        {{ local_date('delivered_at_minute') }} as date,
        deliveries as requests,
        false as is_unavailable
    from {{ ref('stg_cmms__delivery_counts') }}

    union all

    select
        {{ local_date('refused_at') }} as date,
        refusals as requests,
        reason in ('{{ unavailable | join("', '") }}') as is_unavailable
    from {{ ref('stg_cmms__hook_refusals') }}

),

requests as (

    select
        date,
        sum(requests) as receiver_requests,
        coalesce(sum(requests) filter (where is_unavailable), 0) as receiver_unavailable
    from requests_by_kind
    group by date

),

freshness as (

    -- how it stands now: nobody can tell later how late a plant was on an earlier day
    select
        max(days_late) as worst_days_late,
        (array_agg(plant_code order by days_late desc nulls last, plant_code))[1] as worst_plant,
        count(*) filter (where freshness = 'late') as plants_late,
        count(*) filter (where freshness = 'never read') as plants_never_read
    from {{ ref('data_freshness') }}
    where freshness in ('fresh', 'late', 'never read')

),

freshness_by_day as (

    select
        bounds.last_day as date,
        freshness.*
    from bounds
    cross join freshness

    {% if is_incremental() %}
        union all

        select
            this.date,
            this.freshness_worst_days_late as worst_days_late,
            this.freshness_worst_plant as worst_plant,
            this.plants_late,
            this.plants_never_read
        from {{ this }} as this
        cross join bounds
        where this.date < bounds.last_day
    {% endif %}

),

joined as (

    select
        days.date,
        days.date < days.last_day as is_over,
        coalesce(syncs.syncs, 0) as syncs,
        coalesce(syncs.syncs_failed, 0) as syncs_failed,
        coalesce(syncs.syncs_partial, 0) as syncs_partial,
        cast(1 - syncs.syncs_failed / cast(syncs.syncs as double precision) as double precision) as sync_success_rate,
        cast(coalesce(syncs.records_processed, 0) as bigint) as records_processed,
        cast(coalesce(syncs.records_refused, 0) as bigint) as records_refused,
        cast(syncs.records_per_s as double precision) as records_per_s,
        cast(syncs.records_refused / nullif(syncs.records_processed, 0) as double precision) as refusal_rate,
        coalesce(refusals.first_refused_by_rule, '{}') as first_refused_by_rule,
        syncs.database_write_s,
        syncs.database_write_us_per_record,
        coalesce(api.api_calls, 0) as api_calls,
        coalesce(api.api_calls_failed, 0) as api_calls_failed,
        api.ms[1] as api_p50_ms,
        api.ms[2] as api_p95_ms,
        api.ms[3] as api_p99_ms,
        coalesce(events.events_received, 0) as events_received,
        coalesce(events.events_applied, 0) as events_applied,
        coalesce(events.dead_letters, 0) as dead_letters,
        cast(events.dead_letters / cast(events.events_received as double precision) as double precision) as event_error_rate,
        events.ms[1] as inbox_latency_p50_ms,
        events.ms[2] as inbox_latency_p95_ms,
        events.ms[3] as inbox_latency_p99_ms,
        cast(events.retries_recovered as double precision) / nullif(events.retries_recovered + events.retries_exhausted, 0)
            as retry_success_rate,
        coalesce(conflicts.conflicts, 0) as conflicts,
        coalesce(conflicts.conflicts, 0) / cast(nullif(events.events_applied, 0) as double precision) as conflict_rate,
        conflicts.conflicts_automatic / cast(conflicts.conflicts as double precision) as automatic_conflict_rate,
        cast(coalesce(requests.receiver_requests, 0) as bigint) as receiver_requests,
        cast(1 - requests.receiver_unavailable / nullif(requests.receiver_requests, 0) as double precision) as receiver_availability,
        freshness_by_day.worst_days_late as freshness_worst_days_late,
        freshness_by_day.worst_plant as freshness_worst_plant,
        freshness_by_day.plants_late,
        freshness_by_day.plants_never_read
    from days
    left join syncs on days.date = syncs.date
    left join refusals on days.date = refusals.date
    left join api on days.date = api.date
    left join events on days.date = events.date
    left join conflicts on days.date = conflicts.date
    left join requests on days.date = requests.date
    left join freshness_by_day on days.date = freshness_by_day.date

),

final as (

    select

        ---------- text
        first_refused_by_rule,
        freshness_worst_plant,
        jsonb_strip_nulls(
            jsonb_build_object(
                'sync_success_rate', case when sync_success_rate is null then 'no sync ended' end,
                'records_per_s', case when records_per_s is null then 'no sync ended' end,
                'refusal_rate', case when refusal_rate is null then 'no record came' end,
                'database_write_s', case when database_write_s is null then 'no sync wrote' end,
                'api_p95_ms', case when api_p95_ms is null then 'no request to the external API' end,
                'inbox_latency_p95_ms', case when inbox_latency_p95_ms is null then 'no event was applied' end,
                'event_error_rate', case when event_error_rate is null then 'no event came' end,
                'retry_success_rate', case when retry_success_rate is null then 'no retried event is decided' end,
                'conflict_rate', case when conflict_rate is null then 'no event was applied' end,
                'automatic_conflict_rate', case when automatic_conflict_rate is null then 'no conflict' end,
                'receiver_availability', case when receiver_availability is null then 'nobody sent anything' end,
                'freshness_worst_days_late',
                case
                    when freshness_worst_days_late is not null then null
                    when plants_never_read > 0 then 'no plant was ever read'
                    when plants_never_read = 0 then 'no active plant has machines'
                    else 'the marts were not built on that day'
                end
            )
        ) as unknown_because,

        ---------- numerics
        syncs,
        syncs_failed,
        syncs_partial,
        sync_success_rate,
        records_processed,
        records_refused,
        records_per_s,
        refusal_rate,
        database_write_s,
        database_write_us_per_record,
        api_calls,
        api_calls_failed,
        api_p50_ms,
        api_p95_ms,
        api_p99_ms,
        events_received,
        events_applied,
        dead_letters,
        event_error_rate,
        inbox_latency_p50_ms,
        inbox_latency_p95_ms,
        inbox_latency_p99_ms,
        retry_success_rate,
        conflicts,
        conflict_rate,
        automatic_conflict_rate,
        receiver_requests,
        receiver_availability,
        freshness_worst_days_late,
        plants_late,
        plants_never_read,

        ---------- booleans
        is_over,

        ---------- dates
        date,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from joined

)

select * from final
