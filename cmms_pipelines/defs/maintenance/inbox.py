"""The inbox and its dead letters as assets: observed, not made. The sidecar writes them, and drains work them off.

What belongs here: what their pages show, and the check on what waits. What does not: applying events (`assets`), putting them
back (`replay`).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.maintenance.assets import GROUP, INBOX
from cmms_pipelines.defs.metadata import OWNERS, definition_metadata, preview_table
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.storage import tables

if TYPE_CHECKING:
    from cmms_pipelines.storage.configurations import StoredConfiguration

DEAD_LETTERS = dg.AssetKey(["cmms", "dead_letters"])
OLDEST_PENDING_UNDER_LIMIT = "oldest_pending_under_limit"
NO_MISSED_EVENTS = "no_missed_events"
OBSERVE_INBOX = "observe_inbox"
PREVIEWED = 20
_EVENT_COLUMNS = (
    "sequence", "id", "cmms_system_id", "event_type", "entity_key", "processing_status", "error_message", "received_at",
)  # fmt: skip
_SOURCE_COLUMNS = ("source", "scheme", "format", "is_active", "warnings")
_CAUSE_COLUMNS = ("rule", "cmms_system_id", "event_type", "events", "oldest_at", "newest_at", "example_id", "example_error")


class InboxLimits(dg.Config):
    """What the inbox is held against."""

    oldest_due_s: float = Field(
        default=0.0,
        description="Seconds that an event may wait although it could be applied; 0: as configured (inbox_oldest_due_s).",
    )


@dg.multi_observable_source_asset(  # type: ignore[untyped-decorator]
    name="inbox_and_dead_letters",
    group_name=GROUP,
    specs=[
        dg.AssetSpec(
            INBOX,
            owners=OWNERS,
            kinds={"postgres", "webhook"},
            description="The inbox: every signed event that the webhook sidecar has accepted, whole, and what became of it. "
            "The sidecar writes it; `process_maintenance_events` applies what is pending.",
            metadata=definition_metadata(tables.maintenance_event_hooks),
        ),
        dg.AssetSpec(
            DEAD_LETTERS,
            deps=[INBOX],
            owners=OWNERS,
            kinds={"postgres", "webhook"},
            description="The dead-letter box: events that nobody could apply, by cause. `replay_events` puts them back.",
            metadata=definition_metadata(tables.maintenance_event_hooks),
        ),
    ],
    check_specs=[
        dg.AssetCheckSpec(
            OLDEST_PENDING_UNDER_LIMIT,
            asset=INBOX,
            description="No event that could be applied has waited for longer than the limit (a minute, unless configured).",
        ),
        dg.AssetCheckSpec(
            NO_MISSED_EVENTS,
            asset=INBOX,
            description="The newest sweep of each source found no change that no event had brought (`find_missed_events`).",
        ),
    ],
)
def observe_inbox(
    context: dg.OpExecutionContext, config: InboxLimits, warehouse: Warehouse, source_system: SourceSystem
) -> Iterator[dg.ObserveResult]:
    from cmms_pipelines.storage.configuration_changes import list_sources  # noqa: PLC0415 - only for runs
    from cmms_pipelines.storage.inbox_search import EventFilter, dead_letter_causes, find_events  # noqa: PLC0415
    from cmms_pipelines.storage.inbox_status import inbox_status  # noqa: PLC0415
    from cmms_pipelines.storage.sweeps import newest_sweeps  # noqa: PLC0415

    limit_s = config.oldest_due_s or source_system.in_force(warehouse, context.log.warning).inbox_oldest_due_s
    with warehouse.engine().connect() as connection:
        status = inbox_status(connection)
        newest = find_events(connection, EventFilter(), limit=PREVIEWED)
        causes = dead_letter_causes(connection, EventFilter())
        sweeps = newest_sweeps(connection)
        sources = list_sources(connection)
    counts: Mapping[str, int] = status["counts"]
    due_s = status["oldest_due_age_s"]
    yield dg.ObserveResult(
        asset_key=INBOX,
        metadata={
            **{f"events_{name}": count for name, count in counts.items()},
            "oldest_pending_s": _seconds(status["oldest_pending_age_s"]),
            "oldest_due_s": _seconds(due_s),
            "waiting_for_retry": int(status["waiting_for_retry"]),
            "drain": str(status["drain"]),
            "newest_events": preview_table(newest, _EVENT_COLUMNS),
            "sources": _sources_table(sources),
        },
        check_results=[
            dg.AssetCheckResult(
                asset_key=INBOX,
                check_name=OLDEST_PENDING_UNDER_LIMIT,
                passed=due_s is None or float(due_s) <= limit_s,
                metadata={"oldest_due_s": _seconds(due_s), "limit_s": limit_s, "drain": str(status["drain"])},
            ),
            _no_missed_events(sweeps),
        ],
    )
    yield dg.ObserveResult(
        asset_key=DEAD_LETTERS,
        metadata={
            "dead_letters": counts["dead_letter"],
            "oldest_at": str(min((cause["oldest_at"] for cause in causes), default="")),
            "causes": preview_table(causes[:PREVIEWED], _CAUSE_COLUMNS),
        },
    )


observe_inbox_job = dg.define_asset_job(
    OBSERVE_INBOX,
    selection=dg.AssetSelection.assets(INBOX, DEAD_LETTERS),
    executor_def=dg.in_process_executor,
    description="Looks at the inbox and the dead letters: counts, ages, a preview, and whether anything waits for too long.",
    tags={"dagster/max_runtime": "120", "dagster/priority": "-5"},
)
observe_inbox_quarter_hourly = dg.ScheduleDefinition(
    name="observe_inbox_quarter_hourly",
    job=observe_inbox_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour.",
)


def _no_missed_events(sweeps: Sequence[Mapping[str, Any]]) -> dg.AssetCheckResult:
    missed = sum(int(one["missed"]) for one in sweeps)
    failed = {str(one["cmms_system_id"]): str(one["error_message"]) for one in sweeps if one["status"] == "failed"}
    examples = [{"source": one["cmms_system_id"], **example} for one in sweeps for example in one["examples"]][:PREVIEWED]
    return dg.AssetCheckResult(
        asset_key=INBOX,
        check_name=NO_MISSED_EVENTS,
        passed=not missed and not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if sweeps else "No source has been swept yet.",
        metadata={
            "missed": missed,
            "sources": len(sweeps),
            "newest_sweep_at": str(max((one["started_at"] for one in sweeps), default="")),
            "failed": dg.MetadataValue.json(failed),
            "examples": dg.MetadataValue.json(examples),
        },
    )


def _sources_table(sources: "Sequence[StoredConfiguration]") -> dg.TableMetadataValue:
    from cmms_pipelines.storage.configurations import warnings_of  # noqa: PLC0415 - only for runs

    rows = (
        {
            "source": stored.cmms_system_id,
            "scheme": stored.configuration.get("scheme"),
            "format": stored.configuration.get("format"),
            "is_active": stored.is_active,
            "warnings": "; ".join(warnings_of(stored.configuration)),
        }
        for stored in sources
    )
    return preview_table(rows, _SOURCE_COLUMNS)


def _seconds(value: object) -> float:
    return round(float(str(value)), 1) if value is not None else 0.0
