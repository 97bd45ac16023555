"""The queue of conflicts as an asset: observed, not made. Merges fill it, people and both sides' agreement empty it.

What belongs here: what its page shows, and the check on what waits. What does not: deciding (`conflict_jobs`).
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import orjson
from pydantic import Field

from cmms_pipelines.defs.maintenance.assets import GROUP, WORK_ORDERS
from cmms_pipelines.defs.metadata import OWNERS, definition_metadata, preview_table
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.storage import tables

SYNC_CONFLICTS = dg.AssetKey(["cmms", "sync_conflicts"])
NO_OLD_CONFLICTS = "no_old_conflicts"
OBSERVE_CONFLICTS = "observe_conflicts"
PREVIEWED = 20
_SHOWN = ("id", "entity_type", "entity_key", "field", "ours", "theirs", "base", "age_h", "severity", "rule", "cmms_system_id")


class ConflictLimits(dg.Config):
    """What the queue is held against."""

    oldest_h: float = Field(default=24.0, gt=0, description="Hours that a conflict may wait for somebody.")


@dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
    name="sync_conflicts",
    group_name=GROUP,
    specs=[
        dg.AssetSpec(
            SYNC_CONFLICTS,
            deps=[WORK_ORDERS, dg.AssetKey(["cmms", "equipment"])],
            owners=OWNERS,
            kinds={"postgres"},
            description="Fields that both sides have changed: those that wait for somebody, and what became of the others. "
            "`resolve_conflicts` decides them.",
            metadata=definition_metadata(tables.sync_conflicts),
        )
    ],
    check_specs=[
        dg.AssetCheckSpec(
            NO_OLD_CONFLICTS,
            asset=SYNC_CONFLICTS,
            description="No conflict has waited for longer than the limit (a day, unless configured).",
        )
    ],
)
def observe_queue(config: ConflictLimits, warehouse: Warehouse) -> Iterator[dg.ObserveResult]:
    from cmms_pipelines.storage.conflict_search import (  # noqa: PLC0415 - only for runs
        ConflictFilter,
        count_conflicts,
        find_conflicts,
        queue_status,
    )

    with warehouse.engine().connect() as connection:
        status = queue_status(connection)
        waiting = find_conflicts(connection, ConflictFilter(statuses=["open"]), limit=PREVIEWED, is_oldest_first=True)
        old = count_conflicts(connection, ConflictFilter(statuses=["open"], older_than_s=config.oldest_h * 3600))
    oldest_h = round((status["oldest_age_s"] or 0.0) / 3600, 2)
    yield dg.ObserveResult(
        asset_key=SYNC_CONFLICTS,
        metadata={
            **{f"conflicts_{name}": count for name, count in status["counts"].items()},
            "oldest_open_h": oldest_h,
            "open_by_severity": dg.MetadataValue.json(status["by_severity"]),
            "open_by_rule": dg.MetadataValue.json(status["by_rule"]),
            "oldest_open_conflicts": preview_table(map(_shown, waiting), _SHOWN),
        },
        check_results=[
            dg.AssetCheckResult(
                asset_key=SYNC_CONFLICTS,
                check_name=NO_OLD_CONFLICTS,
                passed=old == 0,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"old_conflicts": old, "oldest_open_h": oldest_h, "limit_h": config.oldest_h},
            )
        ],
    )


observe_conflicts = dg.define_asset_job(
    OBSERVE_CONFLICTS,
    selection=dg.AssetSelection.assets(SYNC_CONFLICTS),
    executor_def=dg.in_process_executor,
    description="Looks at the queue of conflicts: counts, ages, a preview, and whether anything waits for too long.",
    tags={"dagster/max_runtime": "120", "dagster/priority": "-5"},
)
observe_conflicts_hourly = dg.ScheduleDefinition(
    name="observe_conflicts_hourly",
    job=observe_conflicts,
    cron_schedule="20 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every hour.",
)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    sides = {name: orjson.dumps(row[name]).decode() for name in ("base", "ours", "theirs")}
    return {**row, **sides, "age_h": round(float(row["age_s"]) / 3600, 1)}
