"""What the source sent for one slice, read out of JSON in chunks, ahead of whoever judges it.

What belongs here: handing chunks of canonical frames over. What does not: where to cut (`sync.chunks`), what a field means
(`domain.dialects`).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import pandas as pd
import pyarrow as pa

from cmms_pipelines.domain.raw_records import RawRecord, RawRecords
from cmms_pipelines.sync.ahead import Ahead
from cmms_pipelines.sync.chunks import chunks_of
from cmms_pipelines.sync.source import Fetched


@dataclass(frozen=True)
class Mapped:
    """Some records and their canonical frame, and the seconds that reading them took."""

    records: Sequence[RawRecord]
    frame: pd.DataFrame
    seconds: float = 0.0


class SliceReader:
    """The chunks of one slice; the first one is read while the slice still waits for its turn."""

    def __init__(
        self,
        fetched: Fetched,
        frame_of: Callable[[Sequence[RawRecord]], pd.DataFrame],
        key_fields: tuple[str, ...],
        *,
        chunk_rows: int,
        equipment_numbers: Sequence[str] | None = None,
    ) -> None:
        """Take over what was fetched; `close` lets go of it.

        Args:
            fetched: the slice.
            frame_of: records to their canonical frame.
            key_fields: the source's names of the field with the equipment number.
            chunk_rows: see `sync.chunks`.
            equipment_numbers: only these machines; the rest is left out.
        """
        pa.set_memory_pool(pa.system_memory_pool())  # the default one keeps what chunks have freed
        self.fetch_seconds = fetched.seconds
        self._fetched = fetched
        self._frame_of = frame_of
        self._key_fields = key_fields
        self._chunk_rows = chunk_rows
        self._wanted = list(equipment_numbers) if equipment_numbers else None
        self._ahead: Ahead[Mapped] | None = Ahead(self._read())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def chunks(self) -> Ahead[Mapped]:
        """Return all chunks, from the first one on however often one asks; the caller closes them."""
        first, self._ahead = self._ahead, None
        return first or Ahead(self._read())

    def close(self) -> None:
        if self._ahead is not None:
            self._ahead.close()
        self._fetched.close()

    def _read(self) -> Iterator[Mapped]:
        started = time.perf_counter()
        for records in chunks_of(self._fetched.spools, self._chunk_rows, self._key_fields):
            chunk, frame = self._mapped(records)
            yield Mapped(chunk, frame, time.perf_counter() - started)
            started = time.perf_counter()

    def _mapped(self, records: RawRecords) -> tuple[RawRecords, pd.DataFrame]:
        frame = self._frame_of(records)
        if self._wanted is None:
            return records, frame
        is_wanted = frame["equipment_number"].isin(self._wanted).to_numpy()
        return records.only(is_wanted), frame.loc[is_wanted].reset_index(drop=True)
