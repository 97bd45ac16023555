-- Sync logs without a row, apart from those too young to have been seen by the build; logs cleaned up since may have one.
with

sync_logs as (

    select * from {{ ref('stg_cmms__api_sync_logs') }}

),

sync_performance as (

    select * from {{ ref('sync_performance') }}

),

built as (

    select max(built_as_of) as built_as_of from sync_performance

)

select sync_logs.sync_log_id
from sync_logs
left join sync_performance on sync_logs.sync_log_id = sync_performance.sync_log_id
cross join built
where
    sync_performance.sync_log_id is null
    and sync_logs.created_at
    < coalesce(built.built_as_of, {{ as_of() }}) - make_interval(mins => {{ var('settle_minutes') }})
