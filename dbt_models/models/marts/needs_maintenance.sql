{{ config(materialized='view') }}

with

maintenance_due as (

    select * from {{ ref('maintenance_due') }}

),

final as (

    select

        ---------- ids
        equipment_id,
        equipment_number,
        plant_code,

        ---------- text
        rule_name,
        task,
        status,
        baseline_work,

        ---------- numerics
        priority,
        hours_left,
        days_left,

        ---------- dates
        baseline_on,
        expected_due_on

    from maintenance_due
    where needs_maintenance

)

select * from final
