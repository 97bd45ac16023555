"""Readings judged beside what is stored around them, and written.

What belongs here: what one chunk of readings needs from the database and what is written of it. What does not: the rules
(`domain.running_times`, `domain.contracts`), the SQL (`storage.running_times`), chunks and transactions (`sync.writer`).
"""

from collections.abc import Sequence
from datetime import date
from itertools import count

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.quarantine import record_keys
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.record_digests import Judgement
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.running_times import judge, with_context
from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.storage.partitions import ensure_month_partitions
from cmms_pipelines.storage.rejections import is_any_open
from cmms_pipelines.storage.running_times import Unsettled
from cmms_pipelines.sync.known_records import KnownRecords, judgement_of
from cmms_pipelines.sync.neighbours import LookedUp, NeighboursOfSlice
from cmms_pipelines.sync.plants import with_created
from cmms_pipelines.sync.reader import Mapped, SliceReader
from cmms_pipelines.sync.session import Slice, SyncSession
from cmms_pipelines.sync.writer import Judged, judged_chunk, write_kept, write_slice

LOCK_WAIT_S = 20.0  # then the slice is rolled back and begun again
KEY = ["equipment_number", "date", "plant_code"]
NO_KEYS = pd.Series(dtype="str")  # of records that go nowhere near the quarantine


class ReadingsWriter:
    """Judges the readings of slices and writes them; what is refused goes whole into the quarantine."""

    def __init__(
        self,
        session: SyncSession,
        dialect: Dialect,
        plants: pd.DataFrame,
        *,
        creates_plants: bool = False,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """`creates_plants`: also those that nobody knows; `lock_wait_s`: what a look at the neighbours waits for a lock."""
        self._session = session
        self._dialect = dialect
        self._plants = plants
        self._zones = dict(zip(plants["plant_code"], plants["time_zone"], strict=True))
        self._creates_plants = creates_plants
        self._lock_wait_s = lock_wait_s
        self._locks_first = True  # until two slices turn out to want each other's machines

    def frame_of(self, records: Sequence[RawRecord]) -> pd.DataFrame:
        """Return the canonical frame of some records."""
        return self._dialect.running_times_frame(records, self._zones)

    def known(self, piece: Slice) -> KnownRecords:
        """Return what is known of a slice's records before they are judged."""
        return KnownRecords(self._session.engine, self._judgement(piece), piece.day)

    def prepare(self, days: Sequence[date]) -> None:
        """Make the months of the days that are to be written, before any of them is.

        A new month locks the whole table. Made with a slice, it would wait for the transactions of slices in flight, and their
        looks at the neighbours would wait behind it.
        """
        with self._session.engine.begin() as connection:
            ensure_month_partitions(connection, days)

    def write(self, piece: Slice, reader: SliceReader) -> SyncCounts:
        """Judge and write one slice; raises as `write_chunks` does."""
        judgement = self._judgement(piece)
        around = NeighboursOfSlice(self._session.engine, piece, lambda: len(reader), self._lock_wait_s)

        unsettled = Unsettled()
        attempts = count(1)
        is_any_waiting = True

        def begin(connection: sa.Connection) -> None:
            nonlocal is_any_waiting
            unsettled.clear()
            self._locks_first &= next(attempts) == 1
            is_any_waiting = is_any_open(connection, self._session.log.sync_type, piece.day)
            around.begin(connection, locks_first=self._locks_first)

        def judge_chunk(mapped: Mapped) -> Judged:
            around_chunk = around.of(mapped.frame)
            return self._judge(piece, mapped, around_chunk, judgement, is_any_waiting=is_any_waiting, unsettled=unsettled)

        def settle(connection: sa.Connection) -> None:
            storage.settle(connection, unsettled)

        return write_slice(self._session, piece, reader, self._plants, judge_chunk, begin=begin, finish=settle)

    def write_kept(self, piece: Slice, records: Sequence[RawRecord], kept_keys: Sequence[str]) -> SyncCounts:
        """Judge and write records from the quarantine, which bring the keys under which they are kept there."""
        keys = pd.Series(kept_keys, dtype="str")
        mapped = Mapped(records, self.frame_of(records))
        around = NeighboursOfSlice(self._session.engine, piece, lambda: len(records), self._lock_wait_s)
        return write_kept(
            self._session, piece, mapped, lambda chunk: self._judge(piece, chunk, around.of(chunk.frame), None, kept_keys=keys)
        )

    def _judgement(self, piece: Slice) -> Judgement:
        dialect = self._dialect
        facts = (dialect.name, dialect.has_decimal_comma, dict(dialect.running_time_mapping))
        return judgement_of(self._plants, piece.plant_codes, piece.day, *facts)

    def _judge(
        self,
        piece: Slice,
        mapped: Mapped,
        around: LookedUp,
        judgement: Judgement | None,
        *,
        kept_keys: pd.Series | None = None,
        is_any_waiting: bool = True,
        unsettled: Unsettled | None = None,
    ) -> Judged:
        frame, mapping, engine = mapped.frame, self._dialect.running_time_mapping, self._session.engine
        plants = with_created(engine, frame["plant_code"], self._plants) if self._creates_plants else self._plants
        context = with_context(frame, plants, around.neighbours, [piece.day] if piece.day else [], around.rows)
        readings = judge(context, mapped.digests, judgement)
        if kept_keys is not None:
            keys = kept_keys
        elif is_any_waiting or len(readings.failures):
            keys = record_keys(mapped.records, frame, KEY, mapping)
        else:
            keys = NO_KEYS

        def write(connection: sa.Connection) -> SyncCounts:
            return storage.write(connection, readings.rows, readings.refused_counters, unsettled)

        judged = judged_chunk(
            mapped,
            readings.failures,
            keys,
            mapping,
            write,
            merged=readings.records_merged,
            warned=readings.records_warned,
            tally=readings.tally,
        )
        judged.counts.noted_by_rule.update(readings.noted_by_rule)
        judged.counts.spend("neighbours", around.seconds)
        return judged
