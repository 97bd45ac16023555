-- Readings of the last weeks at which the hours of a machine's whole life are less than at the reading before.
with

recent as (

    select
        equipment_id,
        date,
        lifetime_hours,
        lag(lifetime_hours) over (partition by equipment_id order by date) as lifetime_hours_before
    from {{ ref('stg_cmms__lifetime_hours') }}
    where date >= cast({{ as_of() }} at time zone 'UTC' as date) - 40

)

select *
from recent
where lifetime_hours < lifetime_hours_before
