with

source as (

    select * from {{ source('cmms', 'maintenance_event_hooks') }}

),

renamed as (

    select

        ---------- ids
        id as hook_id,
        sequence as arrival_sequence,
        cmms_system_id,
        entity_key,
        dagster_run_id,

        ---------- text
        event_type,
        processing_status,
        error_message,

        ---------- numerics
        retry_count,

        ---------- booleans
        processing_status in ('pending', 'held') as is_waiting,

        ---------- timestamps
        occurred_at,
        created_at as received_at,
        next_attempt_at,
        processed_at

    from source

)

select * from renamed
