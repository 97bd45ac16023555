"""Replay and discard of refused records as jobs, for those who have the UI and no shell."""

from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import preview_table
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import SYNC_RETRIES, operator_errors, run_tags, sync_key

if TYPE_CHECKING:
    from cmms_pipelines.storage.rejection_search import RejectionFilter


class Selection(dg.Config):
    """Which open records of the quarantine; what is left empty does not restrict."""

    ids: list[int] = Field(default=[], description="Numbers of rejections, as `cmms rejections list` shows them.")
    sync_types: list[str] = Field(default=[], description="plants, equipment, running_times or work_orders.")
    rules: list[str] = Field(default=[], description="Rules that refused them, such as running_hours_exceed_day.")
    severities: list[str] = Field(default=[], description="critical or error.")
    plants: list[str] = Field(default=[], description="Plant codes, such as B6JF.")
    equipment: list[str] = Field(default=[], description="Equipment numbers, such as N190JB.")
    first_day: str = Field(default="", description="Readings of this business day and later, such as 2026-01-31.")
    last_day: str = Field(default="", description="Readings of this business day and earlier.")
    seen_since: str = Field(default="", description="Records that came last at this time (ISO 8601) or later.")
    seen_until: str = Field(default="", description="Records that came last at this time or earlier.")
    first_seen_since: str = Field(default="", description="Records that came first at this time or later.")
    first_seen_until: str = Field(default="", description="Records that came first at this time or earlier.")


class ReplayConfig(Selection):
    """Which open records to judge again; as it stands, all."""

    dry_run: bool = Field(default=False, description="Say what would happen, and change nothing.")


class DiscardConfig(Selection):
    """Which open records to close for good, and why; everything at once is refused."""

    reason: str = Field(description="Why; it is kept with each record.")
    by: str = Field(default="Dagster UI", description="Who you are.")


def as_filter(selection: Selection) -> "RejectionFilter":
    """Return the selection as the quarantine takes it.

    Raises:
        PermanentError: a day or a time cannot be read, or there is no such sync.
    """
    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415
    from cmms_pipelines.storage.rejection_search import RejectionFilter  # noqa: PLC0415 - keeps start-up light

    try:
        days = [date.fromisoformat(text) if text else None for text in (selection.first_day, selection.last_day)]
        seen = [_instant(text) if text else None for text in (selection.seen_since, selection.seen_until)]
        first = [_instant(text) if text else None for text in (selection.first_seen_since, selection.first_seen_until)]
    except ValueError as error:
        raise PermanentError(f"A day looks like 2026-01-31, a time like 2026-01-31T23:00Z: {error}") from error
    unknown = sorted(set(selection.sync_types) - {"plants", "equipment", "running_times", "work_orders"})
    if unknown:
        known = "plants, equipment, running_times and work_orders"
        raise PermanentError(f"There is no sync {', '.join(unknown)}: sync_types are {known}.")
    return RejectionFilter(
        sync_types=tuple(selection.sync_types),
        rules=tuple(selection.rules),
        severities=tuple(selection.severities),
        plant_codes=tuple(selection.plants),
        equipment_numbers=tuple(selection.equipment),
        ids=tuple(selection.ids),
        first_day=days[0],
        last_day=days[1],
        seen_since=seen[0],
        seen_until=seen[1],
        first_seen_since=first[0],
        first_seen_until=first[1],
    )


def _instant(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.astimezone()


@dg.op(
    retry_policy=SYNC_RETRIES,
    description="Judge refused records again: what is acceptable now is stored, the rest stays under the rule that it meets now.",
)
def replay(
    context: dg.OpExecutionContext, config: ReplayConfig, warehouse: Warehouse, source_system: SourceSystem
) -> dict[str, Any]:
    with operator_errors(context):
        from cmms_pipelines.sync.replay import replay_rejections  # noqa: PLC0415 - keeps start-up light

        report = replay_rejections(
            warehouse.engine(),
            source_system.in_force(warehouse, context.log.warning),
            as_filter(config),
            sync_key=sync_key(context, "replay"),
            run_id=context.run.run_id,
            progress=context.log.info,
            is_dry_run=config.dry_run,
        )
        told = report.as_dict()
        refused = preview_table(told["still_refused"], ("sync_type", "record_key", "rule", "message"))
        numbers = ("judged", "accepted", "refused", "overtaken", "is_dry_run")
        context.add_output_metadata(
            {
                **{name: told[name] for name in numbers},
                "refused_by_rule": told["refused_by_rule"],
                "still_refused": refused,
            }
        )
        context.log.info("Judged %d again: %d accepted, %d still refused", report.judged, report.accepted, report.refused)
        return told


@dg.op(description="Close refused records for good, with the reason; one that comes again unchanged stays closed.")
def discard(context: dg.OpExecutionContext, config: DiscardConfig, warehouse: Warehouse) -> list[int]:
    from cmms_pipelines.storage.rejection_search import discard as close  # noqa: PLC0415 - keeps start-up light

    with operator_errors(context), warehouse.engine().begin() as connection:
        closed = close(connection, as_filter(config), actor=config.by, reason=config.reason, run_id=context.run.run_id)
    context.add_output_metadata({"discarded": len(closed)})
    context.log.info("Discarded %d records", len(closed))
    return closed


@dg.job(
    name="replay_rejections",
    tags=run_tags(max_runtime_s=3600, priority=5),
    executor_def=dg.in_process_executor,
    description="Judge refused records again, all open ones or a selection; with dry_run, only say what would happen.",
)
def replay_job() -> None:
    replay()


@dg.job(
    name="discard_rejections",
    tags=run_tags(max_runtime_s=600, priority=5),
    executor_def=dg.in_process_executor,
    description="Close a selection of refused records for good, with the reason and who said so.",
)
def discard_job() -> None:
    discard()


JOBS = [replay_job, discard_job]
