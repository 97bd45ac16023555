-- Rows whose conflicts do not stand in exactly one state each.
select
    opened_on,
    cmms_system_id,
    field
from {{ ref('conflict_resolution') }}
where conflicts <> decided_by_rule + decided_by_hand + converged + still_open
