-- Counters of the whole that are not the sums of the plants', and machines that are neither active nor inactive.
select
    'whole' as what,
    sum(machines) filter (where plant_code <> '(all)') as by_plant,
    sum(machines) filter (where plant_code = '(all)') as whole
from {{ ref('equipment_counts') }}
having
    sum(machines) filter (where plant_code <> '(all)') <> sum(machines) filter (where plant_code = '(all)')
    or sum(active) + sum(inactive) <> sum(machines)
