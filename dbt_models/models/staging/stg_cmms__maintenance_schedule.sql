with

source as (

    select * from {{ source('cmms', 'maintenance_schedule') }}

),

renamed as (

    select

        ---------- ids
        id as maintenance_schedule_id,
        cmms_system_id,
        coalesce(item_number, schedule_key) as item_name,
        equipment_id,
        plant_id,

        ---------- text
        task,
        status,
        priority,

        ---------- timestamps
        scheduled_at,
        due_at,
        completed_at,
        cancelled_at

    from source

)

select * from renamed
