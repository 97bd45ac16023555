"""Chunks of one slice judged and written in one transaction, each on its way while the one before it is being written.

What belongs here: the order of things, the quarantine and the accounts. What does not: judging (`domain`) and the SQL of a
table (`storage`); each sync brings them as a function from a mapped chunk to a `Judged` one.

While PostgreSQL merges a chunk, the next one is read out of JSON (`sync.reader`) and judged, and none after it: memory is bounded
by the size of a chunk, and threads of Python that read ahead of the judging one would only take turns with it.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.quarantine import refused_by_rule, refused_count, rejected_frame
from cmms_pipelines.domain.rejections import Severity, refused_rows
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.tallies import CriticalFailure, Tally, critical_failures
from cmms_pipelines.storage import rejections
from cmms_pipelines.storage.bulk import seconds_copying
from cmms_pipelines.sync.ahead import Ahead
from cmms_pipelines.sync.reader import Mapped, SliceReader
from cmms_pipelines.sync.session import PlantsRefusedError, Slice, SyncSession


@dataclass(frozen=True)
class Judged:
    """A chunk after its judgement.

    Attributes:
        counts: received, refused, merged, warned and the seconds so far.
        rejected: see `quarantine.rejected_frame`.
        accepted_keys: of the records that are not refused.
        write: writes those; returns inserted, updated and unchanged.
        tally: see `tallies.critical_failures`.
    """

    counts: SyncCounts
    rejected: pd.DataFrame
    accepted_keys: pd.Series
    write: Callable[[sa.Connection], SyncCounts]
    tally: Tally = field(default_factory=Tally)


def judged_chunk(
    mapped: Mapped,
    failures: pd.DataFrame,
    keys: pd.Series,
    mapping: Mapping[str, tuple[str, ...]],
    write: Callable[[sa.Connection], SyncCounts],
    *,
    merged: int,
    warned: int = 0,
    tally: Tally | None = None,
) -> Judged:
    """Put together what became of a chunk.

    Args:
        mapped: the chunk.
        failures: see `contracts.failures_of`.
        keys: of all its records, see `quarantine.record_keys`.
        mapping: from columns to the source's field names.
        write: see `Judged`, as are `merged`, `warned` (of `counts`) and `tally`.
    """
    counts = SyncCounts(received=len(mapped.frame), refused=refused_count(failures), merged=merged, warned=warned)
    counts.refused_by_rule.update(refused_by_rule(failures))
    refused = refused_rows(failures)
    rejected = rejected_frame(mapped.records, mapped.frame, failures, keys, mapping)
    accepted_keys = keys.drop(index=refused) if len(refused) else keys
    return Judged(counts, rejected, accepted_keys, write, tally or Tally())


class _PlantsUnreadableError(Exception):
    """Nothing of some plants can be read, which shows once all chunks have been judged: begin again, knowing it."""

    def __init__(self, found: Sequence[CriticalFailure]) -> None:
        super().__init__()
        self.found = found


def write_chunks(
    session: SyncSession,
    piece: Slice,
    read: Callable[[], Ahead[Mapped]],
    judge: Callable[[Mapped], Judged],
    *,
    known: SyncCounts | None = None,
    known_tally: Tally | None = None,
    begin: Callable[[sa.Connection], None] = lambda _connection: None,
    finish: Callable[[sa.Connection], None] = lambda _connection: None,
    settled_by: str = "sync",
    settled_because: str = "the record came again and was accepted",
) -> SyncCounts:
    """Judge and write one slice.

    Args:
        session: the sync.
        piece: the slice.
        read: begins to read its chunks, from the first one on.
        judge: see `Judged`; it runs in a thread of its own, a chunk ahead.
        known: what is known before any chunk is judged: the seconds of fetching, and the records that were left out.
        known_tally: of those records.
        begin: looks, and locks, before any chunk is judged.
        finish: what is left to write once all chunks are.
        settled_by, settled_because: noted where a record that is accepted had been refused before.

    Raises:
        PlantsRefusedError: nothing of a plant can be read; its records are in the quarantine as critical, those of the slice's
            other plants are written, and the slice counts as not done.
        TransientError, SyncStoppedError: see `SyncSession.write`.
    """
    sync_type = session.log.sync_type

    def apply(connection: sa.Connection, unreadable: Collection[str] = ()) -> SyncCounts:
        total, tally = SyncCounts(), Tally()
        tally.add(known_tally or Tally())
        started = time.perf_counter()
        begin(connection)
        total.spend("neighbours", time.perf_counter() - started)
        with read() as chunks, Ahead(_judge_all(chunks, judge)) as judged_chunks:
            for judged in judged_chunks:
                session.look_for_end()
                total.add(judged.counts)
                tally.add(judged.tally)
                started = time.perf_counter()
                rejected = _as_critical(judged.rejected, unreadable)
                rejections.store(connection, sync_type, session.log.id, rejected, session.dialect)
                rejections.close_accepted(connection, sync_type, judged.accepted_keys, actor=settled_by, reason=settled_because)
                written, copying = time.perf_counter(), seconds_copying(connection)
                total.add(judged.write(connection))
                copied = seconds_copying(connection) - copying
                total.spend("quarantine", written - started)
                total.spend("copy", copied)
                total.spend("merge", time.perf_counter() - written - copied)
                del judged  # before the next one is waited for
        critical = critical_failures(sync_type, tally)
        if {one.plant_code for one in critical} - set(unreadable):
            raise _PlantsUnreadableError(critical)
        started = time.perf_counter()
        finish(connection)
        total.spend("merge", time.perf_counter() - started)
        return total

    try:
        return session.write(piece, known or SyncCounts(), apply)
    except _PlantsUnreadableError as error:
        found = error.found
    plant_codes = [one.plant_code for one in found]
    counts = session.write(
        piece, known or SyncCounts(), lambda connection: apply(connection, plant_codes), refused_plants=plant_codes
    )
    raise PlantsRefusedError(f"Of slice {piece.key} not all is written. {' '.join(map(str, found))}", counts)


def _as_critical(rejected: pd.DataFrame, plant_codes: Collection[str]) -> pd.DataFrame:
    """Return refused records (see `Judged`) with those of some plants as critical."""
    if not plant_codes or rejected.empty:
        return rejected
    is_critical = rejected["plant_code"].isin(plant_codes)
    return rejected.assign(severity=rejected["severity"].mask(is_critical, Severity.CRITICAL.value))


def write_slice(
    session: SyncSession,
    piece: Slice,
    reader: SliceReader,
    plants: pd.DataFrame,
    judge: Callable[[Mapped], Judged],
    *,
    begin: Callable[[sa.Connection], None] = lambda _connection: None,
    finish: Callable[[sa.Connection], None] = lambda _connection: None,
) -> SyncCounts:
    """Judge and write what of a slice is not known already; `begin`, `finish` and what is raised are those of `write_chunks`.

    `plants` (plant_code, plant_id) names those of the records that are left out: as readable ones they count where the
    unreadable ones of their plant are weighed.
    """
    of_plants = reader.leave_out_known()
    codes = dict(zip(plants["plant_id"], plants["plant_code"], strict=True))
    tally = Tally(records=Counter({codes[plant_id]: count for plant_id, count in of_plants.items()}))
    return write_chunks(session, piece, reader.chunks, judge, known=reader.counts, known_tally=tally, begin=begin, finish=finish)


def write_kept(session: SyncSession, piece: Slice, mapped: Mapped, judge: Callable[[Mapped], Judged]) -> SyncCounts:
    """Judge and write records from the quarantine, which are no measure of whether their plant can be read.

    Raises:
        TransientError, SliceRefusedError, SyncStoppedError: see `SyncSession.write`.
    """
    return write_chunks(
        session,
        piece,
        lambda: Ahead([mapped]),
        lambda chunk: replace(judge(chunk), tally=Tally()),
        settled_by="replay",
        settled_because="judged again and accepted",
    )


def _judge_all(chunks: Iterable[Mapped], judge: Callable[[Mapped], Judged]) -> Iterator[Judged]:
    """Give the judged chunks without keeping hold of one (see `SliceReader`)."""
    return map(partial(_judged_in_time, judge), chunks)


def _judged_in_time(judge: Callable[[Mapped], Judged], mapped: Mapped) -> Judged:
    started = time.perf_counter()
    judged = judge(mapped)
    judged.counts.spend("parse", mapped.seconds)
    judged.counts.spend("validate", time.perf_counter() - started - judged.counts.stage_seconds.get("neighbours", 0.0))
    return judged
