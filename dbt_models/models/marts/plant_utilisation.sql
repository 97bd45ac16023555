{{
    config(
        indexes=[
            {'columns': ['plant_code', 'date'], 'unique': true},
        ]
    )
}}

with

machine_days as (

    select * from {{ ref('utilisation') }}

),

final as (

    select

        ---------- ids
        plant_code,

        ---------- numerics
        count(*) as machines_expected,
        count(*) filter (where not is_gap) as machines_read,
        count(*) filter (where is_gap) as machines_missing,
        cast(sum(running_hours) as numeric(18, 4)) as running_hours,
        cast(sum(calendar_hours) filter (where running_hours is not null) as numeric(18, 4)) as calendar_hours,
        cast(
            sum(running_hours) / nullif(sum(calendar_hours) filter (where running_hours is not null), 0) as double precision
        ) as utilisation,

        ---------- booleans
        bool_and(is_gap) as is_day_missing,

        ---------- dates
        date,

        ---------- timestamps
        {{ as_of() }} as built_as_of

    from machine_days
    group by plant_code, date

)

select * from final
