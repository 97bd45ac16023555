"""Work orders, and the inbox of events that change them."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import OWNERS, definition_metadata, newest_rows_metadata
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.storage import tables

if TYPE_CHECKING:
    from cmms_pipelines.storage.drain import DrainReport
    from cmms_pipelines.storage.fetching import Fetcher
    from cmms_pipelines.storage.inbox_peek import DeadLetters

GROUP = "maintenance"
INBOX = dg.AssetKey(["cmms", "maintenance_event_hooks"])
WORK_ORDERS = dg.AssetKey(["cmms", "work_orders"])
NO_DEAD_LETTERS = "no_dead_letters"


class DrainConfig(dg.Config):
    """How long one drain stays."""

    idle_s: float = Field(default=30.0, description="It ends when nothing has come for so long.")
    max_s: float = Field(default=600.0, description="After so long it hands over to the next drain.")
    batch_size: int = Field(default=500, description="Events of one transaction, at most.")


@dg.asset(
    key=WORK_ORDERS,
    deps=[INBOX],
    group_name=GROUP,
    owners=OWNERS,
    kinds={"postgres", "python"},
    description="Work orders as the CMMS tells them through events, each field with the newest statement about it. A run drains "
    "the inbox: it applies what is due (work orders, machine master data, meter readings) and stays until nothing has come for a "
    "while.",
    metadata=definition_metadata(tables.work_orders),
    check_specs=[
        dg.AssetCheckSpec(
            NO_DEAD_LETTERS,
            asset=WORK_ORDERS,
            description="No event lies in the dead-letter box, where only an operator gets it out.",
        )
    ],
)
def work_orders(context: dg.AssetExecutionContext, config: DrainConfig, warehouse: Warehouse) -> dg.MaterializeResult:  # type: ignore[type-arg]
    from cmms_pipelines.storage.drain import drain  # noqa: PLC0415 - only a run needs it, not the code location
    from cmms_pipelines.storage.inbox_peek import dead_letters  # noqa: PLC0415

    address = warehouse.address()
    report = drain(
        address,
        run_id=context.run.run_id,
        idle_s=config.idle_s,
        max_s=config.max_s,
        batch_size=config.batch_size,
        make_fetcher=lambda: _fetcher(warehouse, context.run.run_id),
    )
    context.log.info("Drained the inbox: %s; it ended because %s.", report.counts(), report.ended_because)
    newest = newest_rows_metadata(address, WORK_ORDERS.path[-1]) if report.applied else {}
    return dg.MaterializeResult(
        metadata={**drain_metadata(report), **newest},
        check_results=[_no_dead_letters(dead_letters(address))],
    )


def drain_metadata(report: "DrainReport") -> dict[str, dg.MetadataValue]:
    """Return what the asset page shows of a drain."""
    counts: dict[str, dg.MetadataValue] = {
        f"events_{name}": dg.MetadataValue.int(count) for name, count in report.counts().items()
    }
    latencies = {"p50": report.percentile_ms(0.5), "p95": report.percentile_ms(0.95), "max": report.percentile_ms(1.0)}
    measured = {f"latency_{name}_ms": dg.MetadataValue.float(value) for name, value in latencies.items() if value is not None}
    return {
        **counts,
        **measured,
        "events_by_type": dg.MetadataValue.json(dict(report.by_type)),
        "ended_because": dg.MetadataValue.text(report.ended_because),
    }


def _fetcher(warehouse: Warehouse, run_id: str) -> "Fetcher":
    """Make what asks the sources' own APIs; most drains never need it."""
    from cmms_pipelines.settings import read_settings  # noqa: PLC0415 - only where a thin event has come
    from cmms_pipelines.sync.thin_events import ThinEventFetcher  # noqa: PLC0415

    return ThinEventFetcher(warehouse.engine(), read_settings(), run_id)


def _no_dead_letters(dead: "DeadLetters") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=WORK_ORDERS,
        check_name=NO_DEAD_LETTERS,
        passed=dead.count == 0,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"dead_letters": dead.count, "oldest_at": dead.oldest_at or "", "causes": list(dead.causes)},
    )
