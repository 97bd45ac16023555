-- depends_on: {{ source('cmms', 'equipment_running_times') }}
with

source as (

    select * from {{ source('cmms', 'equipment_lifetime_hours') }}

),

renamed as (

    select

        ---------- ids
        equipment_id,

        ---------- numerics
        cumulative_hours,
        lifetime_hours,

        ---------- dates
        date

    from source

)

select * from renamed
