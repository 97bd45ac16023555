"""What the source sent for one slice, read out of JSON in chunks, ahead of whoever judges it.

What belongs here: handing chunks of canonical frames over. What does not: where to cut (`sync.chunks`), what a field means
(`domain.dialects`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self

import pandas as pd

from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.domain.raw_records import RawRecord, RawRecords
from cmms_pipelines.domain.record_digests import Digests
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.sync.ahead import Ahead
from cmms_pipelines.sync.chunks import chunks_of
from cmms_pipelines.sync.known_records import KnownRecords, without_known
from cmms_pipelines.sync.source import Fetched

# JSON is read under the interpreter's lock: a second thread that reads would take as much memory again, and gain no time
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Mapped:
    """Some records, their canonical frame, the seconds that reading them took, and their digests where they have their text."""

    records: Sequence[RawRecord]
    frame: pd.DataFrame
    seconds: float = 0.0
    digests: Digests | None = None


class SliceReader:
    """The chunks of one slice, without the records that are known already.

    Where none can be known, its first chunk is read while the slice waits for its turn.
    """

    def __init__(
        self,
        fetched: Fetched,
        frame_of: Callable[[Sequence[RawRecord]], pd.DataFrame],
        key_fields: tuple[str, ...],
        *,
        chunk_rows: int,
        equipment_numbers: Sequence[str] | None = None,
        known: KnownRecords | None = None,
        may_begin: threading.Semaphore | None = None,
    ) -> None:
        """Take over what was fetched; `close` lets go of it.

        Args:
            fetched: the slice.
            frame_of: records to their canonical frame.
            key_fields: the source's names of the field with the equipment number.
            chunk_rows: see `sync.chunks`.
            equipment_numbers: only these machines; the rest is left out.
            known: what is left out as known; None: nothing.
            may_begin: how many slices may have read their first chunk before their turn; None: no matter how many.
        """
        self.counts = SyncCounts(stage_seconds={"fetch": fetched.seconds})
        self._fetched = fetched
        self._spools = fetched.spools
        self._frame_of = frame_of
        self._key_fields = key_fields
        self._chunk_rows = chunk_rows
        self._wanted = list(equipment_numbers) if equipment_numbers else None
        self._rest: RecordSpool | None = None
        self._begun: Ahead[Mapped] | None = None
        self._may_begin = may_begin
        self.passes = 0  # how often the chunks have been asked for
        started = time.perf_counter()
        self._known = known if known is not None and known.is_any() else None
        if self._known is None and (may_begin is None or may_begin.acquire(blocking=False)):
            self._begun = Ahead(self._read(), is_first_alone=True)
        self.counts.spend("prefilter", time.perf_counter() - started)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def leave_out_known(self) -> Mapping[int, int]:
        """Leave out what is known by now, counted as unchanged; return how many records of each plant, by `plant_id`.

        To be called once, when it is the slice's turn: what is written before it may decide whether a record is still known.
        """
        if self._known is None:
            return {}
        started = time.perf_counter()
        self._rest, of_plants = without_known(self._fetched.spools, self._known, self._key_fields)
        if self._rest is not None:
            self._spools = [self._rest]
        count = sum(of_plants.values())
        self.counts.received += count
        self.counts.unchanged += count
        self.counts.spend("prefilter", time.perf_counter() - started)
        return of_plants

    def chunks(self) -> Ahead[Mapped]:
        """Return all chunks, from the first one on however often one asks; the caller closes them."""
        self.passes += 1
        return self._take_begun() or Ahead(self._read(), is_first_alone=True)

    def __len__(self) -> int:
        """Return how many records there are to judge."""
        return sum(len(spool) for spool in self._spools)

    def close(self) -> None:
        begun = self._take_begun()
        if begun is not None:
            begun.close()
        if self._rest is not None:
            self._rest.close()
        self._fetched.close()

    def _take_begun(self) -> Ahead[Mapped] | None:
        begun, self._begun = self._begun, None
        if begun is not None and self._may_begin is not None:
            self._may_begin.release()
        return begun

    def _read(self) -> Iterator[Mapped]:
        """Give the chunks without keeping hold of one, as a generator would until it is asked for the next."""
        return iter(partial(self._next, chunks_of(self._spools, self._chunk_rows, self._key_fields)), None)

    def _next(self, chunks: Iterator[RawRecords]) -> Mapped | None:
        with _ONE_AT_A_TIME:
            started = time.perf_counter()
            records = next(chunks, None)
            if records is None:
                return None
            chunk, frame = self._mapped(records)
            return Mapped(chunk, frame, time.perf_counter() - started, chunk.digests())

    def _mapped(self, records: RawRecords) -> tuple[RawRecords, pd.DataFrame]:
        frame = self._frame_of(records)
        if self._wanted is None:
            return records, frame
        is_wanted = frame["equipment_number"].isin(self._wanted).to_numpy()
        return records.only(is_wanted), frame.loc[is_wanted].reset_index(drop=True)
