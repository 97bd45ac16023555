"""Everything of the maintenance domain, without its resources."""

import dagster as dg

from cmms_pipelines.defs.maintenance import work_orders as recorded_orders
from cmms_pipelines.defs.maintenance.assets import work_orders
from cmms_pipelines.defs.maintenance.conflict_jobs import create_work_order, edit_record, resolve_conflicts, undo_decision
from cmms_pipelines.defs.maintenance.conflicts import observe_conflicts, observe_conflicts_hourly, observe_queue
from cmms_pipelines.defs.maintenance.inbox import observe_inbox, observe_inbox_job, observe_inbox_quarter_hourly
from cmms_pipelines.defs.maintenance.jobs import process_maintenance_events
from cmms_pipelines.defs.maintenance.reconciliation import find_missed_events
from cmms_pipelines.defs.maintenance.replay import replay_events
from cmms_pipelines.defs.maintenance.rules import set_maintenance_rule
from cmms_pipelines.defs.maintenance.sample_events import send_test_events
from cmms_pipelines.defs.maintenance.sensors import maintenance_inbox_sensor


def build(time_zone: str) -> dg.Definitions:
    """Return the definitions; schedules of syncs run by the clock of `time_zone`."""
    of_events = dg.Definitions(
        assets=[observe_inbox, work_orders],
        jobs=[process_maintenance_events, observe_inbox_job, replay_events, find_missed_events, send_test_events],
        schedules=[observe_inbox_quarter_hourly],
        sensors=[maintenance_inbox_sensor],
    )
    of_conflicts = dg.Definitions(
        assets=[observe_queue],
        jobs=[observe_conflicts, resolve_conflicts, undo_decision, edit_record, create_work_order, set_maintenance_rule],
        schedules=[observe_conflicts_hourly],
    )
    return dg.Definitions.merge(of_events, of_conflicts, recorded_orders.build(time_zone))
