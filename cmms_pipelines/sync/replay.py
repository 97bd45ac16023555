"""Records of the quarantine judged again: those that an operator chose, and those whose plant or machine has arrived.

What belongs here: the order (plants, then machines, then their readings and work orders), the accounts and the report. What does
not: which records wait (`storage.waiting`) and the judgement itself, which is that of the syncs.

A replay is a sync of what is in the quarantine: it has a log, slices and accounts, it waits for its turn, it can be paused and
stopped. A record that is refused again stays the row it was, under the rule that it meets now. Records are read in the dialect in
which they came, whatever the source speaks today; those of each dialect are a sync of their own.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.errors import CmmsError
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage import rejections, waiting
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.rejection_search import RejectionFilter
from cmms_pipelines.storage.waiting import Spoken, WaitingRecords
from cmms_pipelines.sync.control import Patience, SyncStoppedError
from cmms_pipelines.sync.equipment import MastersWriter
from cmms_pipelines.sync.plants import known_plants, write_kept_plants
from cmms_pipelines.sync.readings import ReadingsWriter
from cmms_pipelines.sync.session import Progress, Slice, SyncSession, sync_session
from cmms_pipelines.sync.source import group_rules, source_dialect
from cmms_pipelines.sync.work_orders import WorkOrdersWriter

IN_ORDER = ("plants", "equipment", "running_times", "work_orders")
_SHOWN = 200


@dataclass(frozen=True)
class StillRefused:
    """A record that was refused again, and why."""

    sync_type: str
    record_key: str
    rule: str
    message: str


@dataclass
class ReplayReport:
    """What became of the records.

    Attributes:
        judged: received by the judgement; accepted + refused.
        overtaken: left alone, since something newer is stored in their place.
        refused_by_rule: those refused again, by the first rule that each failed.
        still_refused: the first so many of them.
        sync_log_ids: of the logs with the accounts.
    """

    judged: int = 0
    accepted: int = 0
    refused: int = 0
    overtaken: int = 0
    accepted_by_sync: Counter[str] = field(default_factory=Counter)
    refused_by_rule: Counter[str] = field(default_factory=Counter)
    still_refused: list[StillRefused] = field(default_factory=list)
    sync_log_ids: list[int] = field(default_factory=list)
    is_dry_run: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        counters = {"accepted_by_sync": dict(self.accepted_by_sync), "refused_by_rule": dict(self.refused_by_rule)}
        return {**vars(self), **counters, "still_refused": [asdict(one) for one in self.still_refused]}

    def add(self, sync_type: str, session: SyncSession) -> None:
        """Add what the replay of one sync's records did."""
        self.judged += session.counts.received
        self.accepted += session.counts.stored
        self.refused += session.counts.refused
        self.accepted_by_sync[sync_type] += session.counts.stored
        self.refused_by_rule.update(session.counts.refused_by_rule)
        self.sync_log_ids.append(session.log.id)


@dataclass(frozen=True)
class _Replay:
    engine: sa.Engine
    settings: Settings
    sync_key: str
    run_id: str | None
    progress: Progress
    report: ReplayReport

    def of(self, sync_type: str, condition: sa.ColumnElement[bool], scope: dict[str, Any]) -> None:
        """Judge the chosen records of one sync again."""

        def ask() -> tuple[list[Spoken], int]:
            with self.engine.connect() as connection:
                found = waiting.dialects(connection, sync_type, condition)
                return found, waiting.count_overtaken(connection, sync_type, condition)

        found, overtaken = when_available(self.engine, ask)
        self.report.overtaken += overtaken
        for spoken in found:
            self._in_dialect(spoken, sync_type, sa.and_(condition, waiting.came_in(spoken)), scope)

    def of_arrived(self) -> None:
        """Judge again what waited for a plant or a machine that is there now."""
        for sync_type in IN_ORDER[1:]:
            self.of(sync_type, waiting.has_arrived(), {"replay": "arrived"})

    def _in_dialect(self, spoken: Spoken, sync_type: str, condition: sa.ColumnElement[bool], scope: dict[str, Any]) -> None:
        settings = self.settings
        dialect = source_dialect(settings, spoken.dialect, has_decimal_comma=spoken.has_decimal_comma)
        with self.engine.connect() as connection:
            portions = waiting.portions(connection, sync_type, condition)
        if not portions:
            return
        days = [portion.day for portion in portions if portion.day is not None]
        if days and len(days) == len(portions):
            scope = {**scope, "from": min(days).isoformat(), "to": max(days).isoformat()}
        key = f"{self.sync_key}:{sync_type}" + (f":{spoken.dialect}:{spoken.has_decimal_comma}" if spoken.dialect else "")
        with sync_session(
            self.engine,
            sync_type,
            {**scope, "dialect": dialect.name},
            sync_key=key,
            run_id=self.run_id,
            progress=self.progress,
            dialect=None if spoken.dialect is None else dialect,
            patience=Patience.of(settings),
        ) as session:
            session.is_trial = self.report.is_dry_run
            session.before_commit = lambda connection: self._note_refused(connection, sync_type)
            write = self._writer(sync_type, session, dialect)
            pieces = {Slice(portion.plant_codes, portion.day): portion for portion in portions}
            session.plan(list(pieces))

            def work(piece: Slice) -> SyncCounts:
                with self.engine.connect() as connection:
                    records = waiting.read(connection, sync_type, condition, pieces[piece])
                return write(piece, records)

            session.run_slices(list(pieces), work, max_in_flight=1)  # a day is compared with the one before it
        self.report.add(sync_type, session)

    def _note_refused(self, connection: sa.Connection, sync_type: str) -> None:
        room = _SHOWN - len(self.report.still_refused)
        found = rejections.just_stored(connection)[: max(room, 0)]
        self.report.still_refused += [StillRefused(sync_type, *one) for one in found]

    def _writer(self, sync_type: str, session: SyncSession, dialect: Dialect) -> Callable[[Slice, WaitingRecords], SyncCounts]:
        plants = known_plants(self.engine)
        creates_plants = self.settings.on_unknown_plant is UnknownPlantPolicy.CREATE and not self.report.is_dry_run
        if sync_type == "running_times":
            readings = ReadingsWriter(session, dialect, plants, creates_plants=creates_plants)
            return lambda piece, found: readings.write_kept(piece, found.payloads, found.keys)
        if sync_type == "work_orders":
            orders = WorkOrdersWriter(session, self.settings, dialect, plants)
            return lambda piece, found: orders.write_kept(piece, found.payloads, found.keys)
        if sync_type == "equipment":
            rules = group_rules(self.settings)
            machines = MastersWriter(
                session, dialect, plants, rules, creates_plants=creates_plants, system_id=self.settings.api_system_id
            )
            return lambda piece, found: machines.write_kept(piece, found.payloads, found.keys)
        return lambda piece, found: write_kept_plants(session, piece, dialect, found.payloads, found.keys)


def replay_rejections(
    engine: sa.Engine,
    settings: Settings,
    wanted: RejectionFilter,
    *,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
    is_dry_run: bool = False,
) -> ReplayReport:
    """Judge the open records that `wanted` picks again, store what is acceptable now, and report on the rest.

    Args:
        engine: of the `cmms` database.
        settings: the groups of machines, what an unknown plant gets, and the dialect of records that do not have their own.
        wanted: which records; only open ones are judged.
        sync_key: what the retries of this replay share.
        run_id: of the Dagster run.
        progress: told after each slice.
        is_dry_run: judge and write, then take it back: the report says what would happen, nothing changes.

    Raises:
        TransientError, PermanentError: as the syncs do.
    """
    replay = _Replay(engine, settings, sync_key, run_id, progress, ReplayReport(is_dry_run=is_dry_run))
    scope = {"replay": wanted.described() or "all"} | ({"dry_run": True} if is_dry_run else {})
    for sync_type in wanted.sync_types or IN_ORDER:
        replay.of(sync_type, waiting.chosen(wanted), scope)
    return replay.report


def replay_arrived(
    engine: sa.Engine, settings: Settings, *, sync_key: str, run_id: str | None, progress: Progress
) -> ReplayReport:
    """Judge again what waited for a plant or a machine that is there now: machines first, then readings and work orders.

    Raises:
        TransientError, PermanentError: as the syncs do.
    """
    replay = _Replay(engine, settings, sync_key, run_id, progress, ReplayReport())
    replay.of_arrived()
    return replay.report


@contextmanager
def replaying_arrived(
    engine: sa.Engine, settings: Settings, *, sync_key: str, run_id: str | None, progress: Progress
) -> Iterator[ReplayReport]:
    """Let the body sync plants or machines, then do as `replay_arrived`, also where a part of the sync failed: the rest is there.

    What the body raised goes on afterwards; a replay that fails after it is only told. A sync that an operator stopped or
    cancelled has no replay: the next one of plants or machines has.

    Args:
        engine, settings, run_id, progress: as in `replay_arrived`.
        sync_key: of this attempt alone: the attempts of a sync bring different machines, whose readings may be of one slice.

    Yields:
        The report, which is filled once the body has ended.

    Raises:
        TransientError, PermanentError: as the syncs do.
    """
    replay = _Replay(engine, settings, sync_key, run_id, progress, ReplayReport())
    try:
        yield replay.report
    except SyncStoppedError:
        raise
    except CmmsError:
        try:
            replay.of_arrived()
        except SyncStoppedError:
            raise
        except CmmsError as error:
            progress(f"what waited for plants and machines could not be judged again: {error}")
        raise
    replay.of_arrived()
