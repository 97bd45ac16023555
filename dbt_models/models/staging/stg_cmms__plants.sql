with

source as (

    select * from {{ source('cmms', 'plants') }}

),

renamed as (

    select

        ---------- ids
        id as plant_id,
        plant_code,

        ---------- text
        name as plant_name,
        description as plant_description,
        time_zone,

        ---------- booleans
        is_active,

        ---------- timestamps
        created_at,
        updated_at

    from source

)

select * from renamed
