with

source as (

    select * from {{ source('cmms', 'equipment') }}

),

renamed as (

    select

        ---------- ids
        id as equipment_id,
        equipment_number,
        plant_id,
        equipment_group_id,

        ---------- text
        company_code,
        equipment_description,
        object_number,
        point,
        attributes,

        ---------- booleans
        is_active,

        ---------- timestamps
        api_created_at,
        created_at,
        updated_at

    from source

)

select * from renamed
