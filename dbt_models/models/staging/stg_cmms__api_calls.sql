with

source as (

    select * from {{ source('cmms', 'api_calls') }}

),

renamed as (

    select

        ---------- ids
        id as api_call_id,
        sync_log_id,
        dagster_run_id,

        ---------- text
        endpoint,
        method,
        error,

        ---------- numerics
        status as http_status,
        attempts,
        duration_ms,
        bytes_received,
        rows as rows_received,

        ---------- booleans
        error is not null or coalesce(status, 599) >= 400 as has_failed,

        ---------- timestamps
        started_at

    from source

)

select * from renamed
