{{ config(materialized='view') }}

with

equipment_status as (

    select * from {{ ref('equipment_status') }}

),

final as (

    select

        ---------- ids
        equipment_id,
        equipment_number,
        plant_code,

        ---------- text
        equipment_description,
        failed_syncs,

        ---------- numerics
        open_rejections,
        days_since_last_reading,

        ---------- dates
        last_reading_on

    from equipment_status
    where has_sync_errors

)

select * from final
