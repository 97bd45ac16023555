with

source as (

    select * from {{ source('cmms', 'equipment_groups') }}

),

renamed as (

    select

        ---------- ids
        id as equipment_group_id,

        ---------- text
        name as equipment_group_name,
        description as equipment_group_description,
        classification_rule,

        ---------- numerics
        position,

        ---------- booleans
        is_active,

        ---------- timestamps
        created_at,
        updated_at

    from source

)

select * from renamed
