{{
    config(
        indexes=[
            {'columns': ['sync_log_id'], 'unique': true},
            {'columns': ['started_on', 'sync_type']},
        ]
    )
}}

with

sync_logs as (

    select
        *,
        cast(extract(epoch from sync_completed_at - sync_started_at) as double precision) as duration_s
    from {{ ref('stg_cmms__api_sync_logs') }}

),

api_calls as (

    select
        sync_log_id,
        count(*) as api_calls,
        count(*) filter (where has_failed) as api_calls_failed,
        sum(attempts - 1) as api_retries,
        sum(rows_received) as api_rows,
        sum(bytes_received) as bytes_received,
        percentile_cont(0.50) within group (order by duration_ms) as api_p50_ms,
        percentile_cont(0.95) within group (order by duration_ms) as api_p95_ms
    from {{ ref('stg_cmms__api_calls') }}
    where sync_log_id is not null
    group by sync_log_id

),

final as (

    select

        ---------- ids
        sync_logs.sync_log_id,
        sync_logs.dagster_run_id,

        ---------- text
        sync_logs.sync_type,
        sync_logs.status,
        sync_logs.scope,
        sync_logs.error_message,

        ---------- numerics
        sync_logs.duration_s,
        sync_logs.records_processed,
        sync_logs.records_success,
        sync_logs.records_failed,
        sync_logs.records_inserted,
        sync_logs.records_updated,
        sync_logs.records_unchanged,
        sync_logs.records_merged,
        sync_logs.records_warned,
        sync_logs.records_processed / nullif(sync_logs.duration_s, 0) as records_per_s,
        sync_logs.records_failed / cast(nullif(sync_logs.records_processed, 0) as double precision) as refusal_rate,
        coalesce(api_calls.api_calls, 0) as api_calls,
        coalesce(api_calls.api_calls_failed, 0) as api_calls_failed,
        cast(coalesce(api_calls.api_retries, 0) as bigint) as api_retries,
        cast(coalesce(api_calls.api_rows, 0) as bigint) as api_rows,
        cast(coalesce(api_calls.bytes_received, 0) as bigint) as bytes_received,
        api_calls.api_p50_ms,
        api_calls.api_p95_ms,

        ---------- dates
        cast(sync_logs.sync_started_at at time zone '{{ var("time_zone") }}' as date) as started_on,

        ---------- timestamps
        sync_logs.sync_started_at,
        sync_logs.sync_completed_at,
        {{ as_of() }} as built_as_of

    from sync_logs
    left join api_calls on sync_logs.sync_log_id = api_calls.sync_log_id

)

select * from final
