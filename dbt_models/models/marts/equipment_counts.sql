{{
    config(
        indexes=[
            {'columns': ['plant_code'], 'unique': true},
        ]
    )
}}

with

equipment_status as (

    select * from {{ ref('equipment_status') }}

),

final as (

    select

        ---------- ids
        coalesce(plant_code, '(all)') as plant_code,

        ---------- numerics
        count(*) as machines,
        count(*) filter (where is_active) as active,
        count(*) filter (where not is_active) as inactive,
        count(*) filter (where needs_maintenance) as needs_maintenance,
        count(*) filter (where maintenance_status = 'overdue') as maintenance_overdue,
        count(*) filter (where maintenance_status = 'due') as maintenance_due,
        count(*) filter (where maintenance_status = 'due_soon') as maintenance_due_soon,
        count(*) filter (where maintenance_status = 'unknown') as maintenance_unknown,
        count(*) filter (where is_active and maintenance_status = 'no rule') as active_without_rule,
        count(*) filter (where is_recently_added) as recently_added,
        count(*) filter (where has_sync_errors) as sync_errors,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from equipment_status
    group by grouping sets ((plant_code), ())

)

select * from final
