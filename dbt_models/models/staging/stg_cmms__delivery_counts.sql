with

source as (

    select * from {{ source('cmms', 'delivery_counts') }}

),

renamed as (

    select

        ---------- ids
        cmms_system_id,

        ---------- text
        event_type,
        outcome,

        ---------- numerics
        deliveries,

        ---------- timestamps
        minute as delivered_at_minute

    from source

)

select * from renamed
