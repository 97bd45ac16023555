"""Putting events back as a job, for those who have the UI and no shell."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import preview_table
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.running import operator_errors, run_tags

if TYPE_CHECKING:
    from cmms_pipelines.storage.inbox_search import EventFilter

REPLAY_EVENTS = "replay_events"


class ReplayEventsConfig(dg.Config):
    """Which events; what is left empty does not restrict. Without ids or statuses only dead letters are meant."""

    ids: list[str] = Field(default=[], description="Ids of events, as the inbox shows them.")
    statuses: list[str] = Field(default=[], description="pending, held, processed, ignored, quarantined, dead_letter.")
    sources: list[str] = Field(default=[], description="Source systems, such as plant-cmms.")
    types: list[str] = Field(default=[], description="Event types, such as work_order_updated.")
    entity: str = Field(default="", description="One entity, such as work_order:4711.")
    received_since: str = Field(default="", description="Events that came at this time (ISO 8601 with an offset) or later.")
    received_until: str = Field(default="", description="Events that came before this time.")
    limit: int = Field(default=10_000, description="At most so many, the oldest first.")
    reread: bool = Field(default=False, description="Read their bytes first, with their source's mapping as it is now.")
    dry_run: bool = Field(default=True, description="Say what it would do, and change nothing: switch it off to replay.")
    reason: str = Field(default="", description="Why; it is kept in the audit log.")
    by: str = Field(default="Dagster UI", description="Who you are.")


def as_filter(config: ReplayEventsConfig) -> "EventFilter":
    """Return the choice as the inbox takes it.

    Raises:
        PermanentError: an id, a state or a time cannot be read.
    """
    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415
    from cmms_pipelines.domain.events import HookStatus  # noqa: PLC0415
    from cmms_pipelines.storage.inbox_search import EventFilter  # noqa: PLC0415 - keeps start-up light

    try:
        return EventFilter(
            ids=[UUID(text) for text in config.ids],
            statuses=[HookStatus(text).value for text in config.statuses],
            systems=config.sources,
            types=config.types,
            entity_key=config.entity or None,
            received_since=_instant(config.received_since),
            received_until=_instant(config.received_until),
        )
    except ValueError as error:
        raise PermanentError(f"The choice cannot be read: {error}.") from error


def _instant(text: str) -> datetime | None:
    found = datetime.fromisoformat(text) if text else None
    if found is not None and found.tzinfo is None:
        raise ValueError(f"{text!r} has no offset: write it as 2026-01-31T23:00Z")
    return found


@dg.op(description="Put events of the inbox back, so that the next drain applies them once more; or say what that would do.")
def put_events_back(context: dg.OpExecutionContext, config: ReplayEventsConfig, warehouse: Warehouse) -> int:
    from cmms_pipelines.storage.inbox_replay import dry_run, put_back  # noqa: PLC0415 - keeps start-up light

    with operator_errors(context):
        wanted = as_filter(config)
        if config.dry_run:
            with warehouse.engine().connect() as connection:
                found = dry_run(connection, wanted, limit=config.limit, reread=config.reread)
                connection.rollback()
            context.add_output_metadata(
                {
                    "is_dry_run": True,
                    "events": found.events,
                    "by_status": dict(found.by_status),
                    "by_type": dict(found.by_type),
                    "trials": preview_table(map(_row, found.trials), _TRIED),
                }
            )
            context.log.info("%d events would be put back; nothing was changed", found.events)
            return found.events
        with warehouse.engine().begin() as connection:
            ids = put_back(
                connection,
                wanted,
                actor=config.by,
                reason=config.reason or None,
                run_id=context.run.run_id,
                limit=config.limit,
                reread=config.reread,
            )
    context.add_output_metadata({"is_dry_run": False, "events": len(ids)})
    context.log.info("Put %d events back", len(ids))
    return len(ids)


_TRIED = ("id", "type", "status", "verdict", "error", "changes", "reread")


def _row(trial: Any) -> dict[str, str]:  # noqa: ANN401 - a Trial, whose module a run loads late
    changes = ", ".join(trial.outcome.get("changed", {}))
    return {
        "id": str(trial.id),
        "type": trial.event_type,
        "status": trial.status,
        "verdict": trial.verdict,
        "error": trial.error or "",
        "changes": changes,
        "reread": ", ".join(trial.reread),
    }


@dg.job(
    name=REPLAY_EVENTS,
    tags=run_tags(max_runtime_s=600, priority=5),
    executor_def=dg.in_process_executor,
    description="Put events of the inbox back, dead letters unless told otherwise; as it stands, only say what that would do.",
)
def replay_events() -> None:
    put_events_back()
