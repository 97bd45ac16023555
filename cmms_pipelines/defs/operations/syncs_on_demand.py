"""Syncs on demand as jobs: now, for a range of days, and what has failed once more; for those who have the UI and no shell.

What belongs here: fields of the launchpad, and what a run tells. What does not: the syncs (`sync.again`), and selecting
partitions of the assets, which the asset pages are for.
"""

import datetime as dt
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.equipment.assets import follow_plants
from cmms_pipelines.defs.maintenance.assets import WORK_ORDERS
from cmms_pipelines.defs.metadata import preview_table, sync_metadata
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import EXTERNAL_API_POOL, SYNC_RETRIES, operator_errors, replay_key, run_tags, sync_key

if TYPE_CHECKING:
    import sqlalchemy as sa

    from cmms_pipelines.settings import Settings
    from cmms_pipelines.storage.failed_syncs import FailedSync
    from cmms_pipelines.sync.again import Wanted
    from cmms_pipelines.sync.session import SyncSession

SYNC_NOW, BACKFILL, RETRY_FAILED = "sync_now", "backfill_running_times", "retry_failed"
_SHOWN = ("sync_type", "status", "records", "inserted", "updated", "unchanged", "refused", "slices")
_FAILED = ("log", "sync_type", "scope", "status", "started_at", "error")
_KEYS = {"plants": ("cmms", "plants"), "equipment": ("cmms", "equipment"), "running_times": ("cmms", "equipment_running_times")}


class Scope(dg.Config):
    """Whose data; what is left empty does not restrict."""

    plants: list[str] = Field(default=[], description="Plant codes, such as B6JF; empty: all active plants.")
    equipment: list[str] = Field(default=[], description="Equipment numbers, such as N190JB; empty: all machines.")
    full_refresh: bool = Field(default=False, description="Judge every record again, also those that came before just so.")


class SyncNowConfig(Scope):
    """What to bring now, and whose. As it stands: all masters, and yesterday's running hours of all machines."""

    what: list[str] = Field(
        default=["equipment", "running_times"], description="equipment, running_times, work_orders; they are done in this order."
    )
    first_day: str = Field(
        default="",
        description="First business day of running hours, such as 2026-01-31; empty: yesterday. Of work orders: what changed on "
        "this day or later; empty: since the sync before.",
    )
    last_day: str = Field(default="", description="Last business day of running hours; empty: the first one alone.")


class BackfillConfig(Scope):
    """Which days to bring again, in one run."""

    first_day: str = Field(description="The first business day, such as 2026-01-01.")
    last_day: str = Field(description="The last business day, such as 2026-01-31.")
    most_days: int = Field(
        default=366, description="More days than this are refused, so that a mistyped year is no night's work."
    )
    dry_run: bool = Field(default=False, description="Only say which days are meant and which of them have no reading yet.")


class RetryFailedConfig(dg.Config):
    """What of the things that failed to do again; as it stands, only say what that would be."""

    syncs: bool = Field(default=True, description="Failed syncs that no later one of the same scope has made good.")
    dead_letters: bool = Field(default=True, description="Events that nobody could apply.")
    rejections: bool = Field(default=False, description="Open records of the quarantine: judge them again.")
    since_h: float = Field(default=48.0, description="Syncs that began, and events that came, within so many hours.")
    most_syncs: int = Field(default=20, description="At most so many syncs, the oldest first; the rest waits for the next run.")
    most_events: int = Field(default=1000, description="At most so many dead letters, the oldest first.")
    dry_run: bool = Field(default=True, description="Say what it would do, and change nothing: switch it off to retry.")
    reason: str = Field(default="", description="Why; it is kept in the audit log of each event that is put back.")
    by: str = Field(default="Dagster UI", description="Who you are.")


@dg.op(
    pool=EXTERNAL_API_POOL,
    retry_policy=SYNC_RETRIES,
    description="Bring masters, running hours or work orders of some plants, machines and days now.",
)
def sync_on_demand(
    context: dg.OpExecutionContext, config: SyncNowConfig, warehouse: Warehouse, source_system: SourceSystem
) -> list[dict[str, Any]]:
    with operator_errors(context):
        from cmms_pipelines.sync.again import Wanted  # noqa: PLC0415 - keeps start-up light

        settings = source_system.in_force(warehouse, context.log.warning)
        wanted = Wanted(config.plants, config.equipment, _day(config.first_day), _day(config.last_day), config.full_refresh)
        return _do(context, warehouse, settings, config.what, wanted)


@dg.op(
    pool=EXTERNAL_API_POOL,
    retry_policy=SYNC_RETRIES,
    description="Bring the running hours of a range of days in one run, day by day; or say which days that would be.",
)
def backfill_days(
    context: dg.OpExecutionContext, config: BackfillConfig, warehouse: Warehouse, source_system: SourceSystem
) -> list[dict[str, Any]]:
    with operator_errors(context):
        from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.storage.quality import readings_per_day  # noqa: PLC0415
        from cmms_pipelines.sync.again import Wanted, days_of  # noqa: PLC0415

        settings = source_system.in_force(warehouse, context.log.warning)
        wanted = Wanted(config.plants, config.equipment, _day(config.first_day), _day(config.last_day), config.full_refresh)
        days = days_of(wanted, today=_today(settings), first_day=settings.first_day)
        if len(days) > config.most_days:
            raise PermanentError(f"{days[0]} to {days[-1]} are {len(days)} days, more than most_days ({config.most_days}).")
        if not config.dry_run:
            return _do(context, warehouse, settings, ["running_times"], wanted)
        rows = readings_per_day(warehouse.engine(), days)
        empty = [day.isoformat() for day in days if not rows.get(day)]
        context.add_output_metadata({"is_dry_run": True, "days": len(days), "days_without_reading": dg.MetadataValue.json(empty)})
        context.log.info("%d days would be brought, %d of them have no reading yet", len(days), len(empty))
        return []


@dg.op(
    pool=EXTERNAL_API_POOL,
    retry_policy=SYNC_RETRIES,
    description="Do again what failed: syncs, events that nobody could apply, refused records; or say what that would be.",
)
def retry_what_failed(
    context: dg.OpExecutionContext, config: RetryFailedConfig, warehouse: Warehouse, source_system: SourceSystem
) -> dict[str, int]:
    with operator_errors(context):
        settings = source_system.in_force(warehouse, context.log.warning)
        since = dt.datetime.now(dt.UTC) - dt.timedelta(hours=config.since_h)
        done = {
            "syncs": _retry_syncs(context, config, warehouse, settings, since) if config.syncs else 0,
            "events": _retry_events(context, config, warehouse, since) if config.dead_letters else 0,
            "records": _retry_records(context, config, warehouse, settings) if config.rejections else 0,
        }
        context.add_output_metadata({"is_dry_run": config.dry_run, **done})
        context.log.info("%s: %s", "Would be done again" if config.dry_run else "Done again", done)
        return done


def _do(
    context: dg.OpExecutionContext, warehouse: Warehouse, settings: "Settings", what: Sequence[str], wanted: "Wanted"
) -> list[dict[str, Any]]:
    """Do the named syncs in their order, and note each on its asset."""
    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.sync.again import NAMED, Runner  # noqa: PLC0415
    from cmms_pipelines.sync.replay import replaying_arrived  # noqa: PLC0415

    if unknown := sorted(set(what) - set(NAMED)):
        raise PermanentError(f"There is no sync {', '.join(unknown)}: take {', '.join(NAMED)}.")
    engine, run_id = warehouse.engine(), context.run.run_id
    runner, rows = Runner(engine, settings, run_id, context.log.info), []
    for sync_type in (name for name in NAMED if name in what):
        key = sync_key(context, sync_type, is_full_refresh=wanted.is_full_refresh)
        replay = replaying_arrived(engine, settings, sync_key=replay_key(context, key), run_id=run_id, progress=context.log.info)
        with replay if sync_type == "equipment" else nullcontext():
            session = runner.named(sync_type, wanted, today=_today(settings), sync_key=key)
            _note(context, sync_type, session)
            rows.append(_row(sync_type, session))
    context.add_output_metadata({"syncs": preview_table(rows, _SHOWN)})
    return rows


def _retry_syncs(
    context: dg.OpExecutionContext, config: RetryFailedConfig, warehouse: Warehouse, settings: "Settings", since: dt.datetime
) -> int:
    from cmms_pipelines.storage.failed_syncs import failed_syncs  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.sync.replay import replaying_arrived  # noqa: PLC0415

    engine = warehouse.engine()
    with engine.connect() as connection:
        found = failed_syncs(connection, since)
    chosen = found[: config.most_syncs]
    told = preview_table([one.described() for one in chosen], _FAILED)
    context.add_output_metadata({"failed_syncs": told, "failed_syncs_left": len(found) - len(chosen)})
    if config.dry_run:
        return len(chosen)
    key = replay_key(context, sync_key(context, "retry_failed"))
    with replaying_arrived(engine, settings, sync_key=key, run_id=context.run.run_id, progress=context.log.info):
        _do_again(context, engine, settings, chosen)
    return len(chosen)


def _do_again(context: dg.OpExecutionContext, engine: "sa.Engine", settings: "Settings", chosen: "Sequence[FailedSync]") -> None:
    """Do the chosen syncs again; one that fails leaves the others alone, a stop ends them all."""
    from cmms_pipelines.domain.errors import CmmsError, PermanentError, TransientError  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.sync.again import Runner  # noqa: PLC0415
    from cmms_pipelines.sync.control import SyncStoppedError  # noqa: PLC0415

    runner = Runner(engine, settings, context.run.run_id, context.log.info)
    failures: dict[str, CmmsError] = {}
    for one in chosen:
        key = one.sync_key or sync_key(context, f"{one.sync_type}:again:{one.log_id}")
        try:
            session = runner.of_scope(one.sync_type, one.scope, today=_today(settings), sync_key=key)
        except SyncStoppedError:
            raise
        except CmmsError as error:
            failures[_name(one)] = error
            continue
        _note(context, one.sync_type, session)
        if one.sync_type == "plants":
            follow_plants(context.instance, engine)
    if failures:
        is_permanent = all(isinstance(error, PermanentError) for error in failures.values())
        told = "; ".join(f"{name}: {error}" for name, error in failures.items())
        raise (PermanentError if is_permanent else TransientError)(f"{len(failures)} of {len(chosen)} syncs failed again: {told}")


def _retry_events(context: dg.OpExecutionContext, config: RetryFailedConfig, warehouse: Warehouse, since: dt.datetime) -> int:
    from cmms_pipelines.domain.events import HookStatus  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.storage.inbox_replay import dry_run, put_back  # noqa: PLC0415
    from cmms_pipelines.storage.inbox_search import EventFilter  # noqa: PLC0415

    wanted = EventFilter(statuses=[HookStatus.DEAD_LETTER.value], received_since=since)
    if config.dry_run:
        with warehouse.engine().connect() as connection:
            return dry_run(connection, wanted, limit=config.most_events, tried=0).events
    with warehouse.engine().begin() as connection:
        reason = config.reason or "retry_failed"
        ids = put_back(connection, wanted, actor=config.by, reason=reason, run_id=context.run.run_id, limit=config.most_events)
    return len(ids)


def _retry_records(context: dg.OpExecutionContext, config: RetryFailedConfig, warehouse: Warehouse, settings: "Settings") -> int:
    from cmms_pipelines.storage.rejection_search import RejectionFilter  # noqa: PLC0415 - keeps start-up light
    from cmms_pipelines.sync.replay import replay_rejections  # noqa: PLC0415

    report = replay_rejections(
        warehouse.engine(),
        settings,
        RejectionFilter(),
        sync_key=sync_key(context, "retry_failed"),
        run_id=context.run.run_id,
        progress=context.log.info,
        is_dry_run=config.dry_run,
    )
    context.add_output_metadata({"records_judged": report.judged, "records_still_refused": report.refused})
    return report.accepted


def _note(context: dg.OpExecutionContext, sync_type: str, session: "SyncSession") -> None:
    """Enter a sync into the history of its asset, for running hours under each of its days."""
    if sync_type == "work_orders":
        context.log_event(dg.AssetMaterialization(WORK_ORDERS, metadata=sync_metadata(session)))
        return
    key = dg.AssetKey(list(_KEYS[sync_type]))
    days: list[str | None] = [day.isoformat() for day in sorted(session.counts_by_day)]
    for day in days if sync_type == "running_times" else [None]:
        context.log_event(dg.AssetMaterialization(key, partition=day, metadata=sync_metadata(session)))


def _row(sync_type: str, session: "SyncSession") -> dict[str, Any]:
    counts = session.counts
    figures = {name: getattr(counts, name) for name in ("inserted", "updated", "unchanged", "refused")}
    slices = f"{session.slices_done} of {session.slices_total}"
    return {"sync_type": sync_type, "status": "done", "records": counts.received, **figures, "slices": slices}


def _name(one: "FailedSync") -> str:
    return f"{one.sync_type} (log {one.log_id})"


def _day(text: str) -> dt.date | None:
    from cmms_pipelines.domain.errors import PermanentError  # noqa: PLC0415

    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError as error:
        raise PermanentError(f"{text!r} is no day: it looks like 2026-01-31.") from error


def _today(settings: "Settings") -> dt.date:
    return dt.datetime.now(ZoneInfo(settings.time_zone)).date()


@dg.job(
    name=SYNC_NOW,
    tags={**run_tags(max_runtime_s=3600, priority=20), "cmms/action": "sync"},
    executor_def=dg.in_process_executor,
    description=(
        "Sync now, by plant, machine and day: masters, running hours, work orders. It does not bring the list of plants "
        "(`sync_plants`), and a range of many days is for `backfill_running_times`."
    ),
)
def sync_now() -> None:
    sync_on_demand()


@dg.job(
    name=BACKFILL,
    tags={**run_tags(max_runtime_s=6 * 3600, priority=-5), "cmms/action": "backfill"},
    executor_def=dg.in_process_executor,
    description=(
        "Bring the running hours of a range of days in a single run, which takes up where it stopped when it is executed again. "
        "Rows that are right already are not rewritten. It brings no masters: readings of unknown machines wait in quarantine."
    ),
)
def backfill_running_times() -> None:
    backfill_days()


@dg.job(
    name=RETRY_FAILED,
    tags={**run_tags(max_runtime_s=3600, priority=5), "cmms/action": "retry"},
    executor_def=dg.in_process_executor,
    description=(
        "Do again what failed: syncs with their missing slices, dead letters, refused records; as it stands, only say what that "
        "would be. It decides no conflict, and what an operator stopped stays stopped."
    ),
)
def retry_failed() -> None:
    retry_what_failed()


JOBS = [sync_now, backfill_running_times, retry_failed]
