with

source as (

    select * from {{ source('cmms', 'sync_rejections') }}

),

renamed as (

    select

        ---------- ids
        id as sync_rejection_id,
        sync_log_id,
        record_key,
        plant_code,
        equipment_number,

        ---------- text
        sync_type,
        rule,
        severity,
        column_name,
        value,
        message,
        other_failures,
        status,
        resolved_by,
        resolution_reason,

        ---------- numerics
        times_seen,

        ---------- dates
        date,

        ---------- timestamps
        first_seen_at,
        last_seen_at,
        resolved_at

    from source

)

select * from renamed
