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
        outcome ->> 'rule' as outcome_rule,
        origin,

        ---------- numerics
        retry_count,
        retries_total,
        replays,
        case
            when processing_status in ('processed', 'ignored')
                then cast(extract(epoch from processed_at - coalesce(replayed_at, created_at)) * 1000 as double precision)
        end as latency_ms,

        ---------- booleans
        processing_status in ('pending', 'held') as is_waiting,

        ---------- timestamps
        occurred_at,
        created_at as received_at,
        next_attempt_at,
        processed_at,
        replayed_at

    from source

)

select * from renamed
