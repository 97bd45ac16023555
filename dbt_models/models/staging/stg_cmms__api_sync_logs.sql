with

source as (

    select * from {{ source('cmms', 'api_sync_logs') }}

),

renamed as (

    select

        ---------- ids
        id as sync_log_id,
        dagster_run_id,

        ---------- text
        sync_type,
        status,
        scope,
        error_message,

        ---------- numerics
        records_processed,
        records_success,
        records_failed,
        records_inserted,
        records_updated,
        records_unchanged,
        records_merged,
        records_warned,
        stage_seconds,

        ---------- timestamps
        sync_started_at,
        sync_completed_at,
        created_at,
        updated_at

    from source

)

select * from renamed
