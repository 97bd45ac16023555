-- Days, sources and types whose events do not stand in exactly one state each.
select
    received_on,
    cmms_system_id,
    event_type
from {{ ref('event_analytics') }}
where
    events_received
    <> events_pending + events_held + events_processed + events_ignored + events_quarantined + dead_letters
