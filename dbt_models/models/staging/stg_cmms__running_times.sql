with

source as (

    select * from {{ source('cmms', 'equipment_running_times') }}

),

renamed as (

    select

        ---------- ids
        equipment_id,
        plant_id,

        ---------- text
        point,
        description,
        company_code,
        source,
        warnings,

        ---------- numerics
        running_hours,
        cumulative_hours,
        days_covered,

        ---------- booleans
        warnings is not null as has_warnings,
        readings is not null as is_sum_of_plants,

        ---------- dates
        date,

        ---------- timestamps
        date_time,
        api_created_at,
        created_at,
        updated_at

    from source

)

select * from renamed
