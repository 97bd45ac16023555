"""Work orders from the external API: the second way in which they arrive, beside events.

The asset is the one that drains materialize (`defs.maintenance.assets`); a sync reports its materialization itself.
"""

import datetime as dt
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.maintenance.assets import WORK_ORDERS
from cmms_pipelines.defs.metadata import newest_rows_metadata, sync_metadata
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import EXTERNAL_API_POOL, SYNC_RETRIES, operator_errors, run_tags, sync_key
from cmms_pipelines.defs.syncing import sync_schedule

SYNC_WORK_ORDERS = "sync_work_orders"
SYNC_CHANGED = "sync_changed_work_orders"  # the op: a name of its own, because op and job share one space of names


class WorkOrdersConfig(dg.Config):
    """What part of the work orders to sync."""

    first_day: str = Field(
        default="",
        description="Orders that changed on this day (such as 2026-01-31) or later; empty: since the sync before, and some days "
        "earlier (CMMS_LOOK_BACK_DAYS).",
    )
    plants: list[str] = Field(default=[], description="Plant codes, such as B6JF; empty: all active plants.")


def build(time_zone: str) -> dg.Definitions:
    """Return the job `sync_work_orders` and its schedule, by the clock of `time_zone`."""

    @dg.op(
        name=SYNC_CHANGED,
        pool=EXTERNAL_API_POOL,
        retry_policy=SYNC_RETRIES,
        description="Bring the work orders that have changed into cmms.work_orders; refused records are in cmms.sync_rejections.",
    )
    def sync(context: dg.OpExecutionContext, config: WorkOrdersConfig, warehouse: Warehouse, source_system: SourceSystem) -> None:
        with operator_errors(context):
            from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415 - keeps start-up light
            from cmms_pipelines.sync.work_orders import sync_work_orders  # noqa: PLC0415

            try:
                first_day = dt.date.fromisoformat(config.first_day) if config.first_day else None
            except ValueError as error:
                raise PermanentError(f"first_day is no date such as 2026-01-31: {config.first_day!r}.") from error
            settings = source_system.in_force(warehouse, context.log.warning)
            session = sync_work_orders(
                warehouse.engine(),
                settings,
                today=dt.datetime.now(ZoneInfo(settings.time_zone)).date(),
                first_day=first_day,
                plant_codes=config.plants or None,
                sync_key=sync_key(context, "work_orders"),
                run_id=context.run.run_id,
                progress=context.log.info,
            )
            newest = newest_rows_metadata(warehouse.address(), WORK_ORDERS.path[-1])
            context.log_event(dg.AssetMaterialization(WORK_ORDERS, metadata={**sync_metadata(session), **newest}))

    @dg.job(
        name=SYNC_WORK_ORDERS,
        tags=run_tags(max_runtime_s=3600, priority=0),
        executor_def=dg.in_process_executor,
        description="Bring the work orders up to date that changed since the sync before; events about them come at any time.",
    )
    def sync_work_orders_job() -> None:
        sync()

    nightly = sync_schedule(
        "sync_work_orders_nightly",
        sync_work_orders_job,
        cron="30 1 * * *",
        time_zone=time_zone,
        description="Every night at 01:30, after equipment and running hours: an order needs its machine.",
    )
    return dg.Definitions(jobs=[sync_work_orders_job], schedules=[nightly])
