-- The marts count days in the plant's time zone: one that PostgreSQL does not know would stop them with a worse message.
select
    plants.plant_code,
    plants.time_zone
from {{ ref('stg_cmms__plants') }} as plants
left join pg_catalog.pg_timezone_names as known on plants.time_zone = known.name
where known.name is null
