with

source as (

    select * from {{ source('cmms', 'maintenance_rules') }}

),

renamed as (

    select

        ---------- ids
        id as maintenance_rule_id,
        equipment_group_id,
        equipment_id,

        ---------- text
        name as rule_name,
        task,
        scheduling,
        work_type,
        title_contains,

        ---------- numerics
        interval_hours,
        interval_days,
        tolerance_hours,
        tolerance_days,
        baseline_hours as stated_baseline_hours,
        version,

        ---------- booleans
        is_active,

        ---------- dates
        baseline_on as stated_baseline_on,

        ---------- timestamps
        created_at,
        updated_at

    from source

)

select * from renamed
