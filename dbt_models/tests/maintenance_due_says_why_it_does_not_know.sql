-- Rows without a number and without a reason, or with a status that their numbers do not bear out.
select
    equipment_number,
    rule_name,
    status
from {{ ref('maintenance_due') }}
where
    (status = 'unknown' and unknown_because is null)
    or (interval_hours is not null and hours_left is null and unknown_because is null)
    or (interval_days is not null and days_left is null and unknown_because is null)
    or (hours_left < 0 - tolerance_hours and status <> 'overdue')
    or (expected_due_on is null and not_expected_because is null and unknown_because is null)
