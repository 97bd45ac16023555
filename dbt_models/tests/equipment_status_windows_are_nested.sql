-- Seven days lie within thirty, and a machine with readings in the window has a last reading.
select
    equipment_id,
    running_hours_last_7_days,
    running_hours_last_30_days,
    readings_last_30_days,
    last_reading_on
from {{ ref('equipment_status') }}
where
    running_hours_last_7_days > running_hours_last_30_days
    or (readings_last_30_days > 0 and last_reading_on is null)
