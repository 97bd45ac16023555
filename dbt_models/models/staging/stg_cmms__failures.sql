with

source as (

    select * from {{ source('cmms', 'failures') }}

),

renamed as (

    select

        ---------- ids
        id as failure_id,
        cmms_system_id,
        failure_key,
        equipment_id,
        plant_id,

        ---------- text
        status,
        severity,
        failure_code,

        ---------- numerics
        downtime_hours,

        ---------- timestamps
        coalesce(failed_at, detected_at) as failed_at,
        repaired_at

    from source

)

select * from renamed
