with

source as (

    select * from {{ source('cmms', 'work_orders') }}

),

renamed as (

    select

        ---------- ids
        id as work_order_id,
        cmms_system_id,
        work_order_number,
        equipment_id,
        plant_id,

        ---------- text
        status,
        priority,
        title,
        work_type,
        assignee,
        currency,

        ---------- numerics
        cost,
        version,

        ---------- booleans
        status not in ('closed', 'cancelled') as is_open,
        is_partial,

        ---------- timestamps
        due_at,
        scheduled_at,
        started_at,
        completed_at,
        closed_at,
        source_updated_at,
        created_at,
        updated_at

    from source

)

select * from renamed
