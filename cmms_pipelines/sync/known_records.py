"""Records that came before, and would be judged as they were: recognised by their digests, and left out.

What belongs here: which records of a slice need no judgement, and what their judgement depends on. What does not: digests
themselves (`domain.record_digests`) and where they are kept (`storage.known_records`).

A row keeps the digest of its record where it was written from that record alone and nothing was noted about it. The same
record would leave that row as it is, unless something else that its judgement looks at has changed:

| what | why it cannot go unnoticed |
|---|---|
| the row, by whoever | a trigger takes the digest away |
| readings before it, or what is known of the counter | whoever changes those works the row out again, and so changes it |
| another record of the machine in the same slice | then all records of the machine are judged |
| a refused record that waits under the same key | then the machine's records are judged, and close it |
| an edit or an event that speaks of the machine | then its master is judged every time |
| the code, the dialect, the source's fields, the rules for groups, a plant's clock | they are part of the digest (`Judgement`) |

Everything else is judged: records that differ in any character, that brought a warning, that were refused, that came twice.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.domain.machine_days import day_hours
from cmms_pipelines.domain.raw_records import RawRecords
from cmms_pipelines.domain.record_digests import Digests, Judgement, digest_of_facts
from cmms_pipelines.domain.sap_values import key_column
from cmms_pipelines.storage.known_records import KnownRows, equipment_ids, is_any_known, read_known

Mask = npt.NDArray[np.bool_]

_KEYS_TOGETHER = 25_000  # numbers of machines that are looked up at once; to read few at a time costs as much as to read many

# what a record becomes is decided here; a change of any of them has everything judged again once
JUDGED_BY = (
    "domain.classification", "domain.contracts", "domain.counters", "domain.dialects", "domain.equipment",
    "domain.field_names", "domain.folding", "domain.keys", "domain.machine_days", "domain.odata_records",
    "domain.raw_records", "domain.records", "domain.regular_cells", "domain.rejections", "domain.running_times",
    "domain.sap_values", "domain.tallies", "storage.day_rows", "storage.equipment", "storage.machine_days", "storage.neighbours",
    "storage.new_readings", "storage.rechecks", "storage.running_times", "sync.chunks", "sync.equipment", "sync.neighbours",
    "sync.readings",
)  # fmt: skip


@cache
def code_version() -> int:
    """Return a digest of the source code that judges and writes records."""
    found = []
    for name in JUDGED_BY:
        spec = importlib.util.find_spec(f"cmms_pipelines.{name}")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"cmms_pipelines.{name}")
        found.append(Path(spec.origin).read_bytes())
    return digest_of_facts(*found)


def judgement_of(plants: pd.DataFrame, plant_codes: Sequence[str], day: date | None, *facts: object) -> Judgement:
    """Return what the judgement of a slice depends on.

    Args:
        plants: plant_code, plant_id, time_zone.
        plant_codes: of the slice.
        day: of the slice, if it has one.
        facts: the dialect, the names of the source's fields, and whatever else of the settings decides.
    """
    of_slice = plants.loc[plants["plant_code"].isin(list(plant_codes))]
    shared = (code_version(), *facts)
    return Judgement(
        {
            int(plant_id): digest_of_facts(*shared, code, zone, day and day_hours(day, zone))
            for code, plant_id, zone in zip(of_slice["plant_code"], of_slice["plant_id"], of_slice["time_zone"], strict=True)
        }
    )


@dataclass(frozen=True)
class KnownRecords:
    """The records of one slice that are known already."""

    engine: sa.Engine
    judgement: Judgement
    day: date | None

    def is_any(self) -> bool:
        """Tell whether a record of the slice can be known at all."""
        with self.engine.connect() as connection:
            return is_any_known(connection, self.day, list(self.judgement.of_plants))

    def recognise(self, digests: Digests) -> "Recognised":
        """Return which records of the slice, given the digests of all, were written as they are."""
        with self.engine.begin() as connection:
            rows = read_known(connection, self.day, list(self.judgement.of_plants))
        return Recognised(rows, self._rows_of(digests, rows))

    def without_machines(self, recognised: "Recognised", numbers: Iterable[Sequence[str]]) -> "Recognised":
        """Return what is left of the recognised records without those of some machines (their numbers, some at a time)."""
        with self.engine.begin() as connection:
            machines = np.concatenate([equipment_ids(connection, some) for some in numbers])
        is_left = recognised.is_known & ~np.isin(recognised.rows.equipment_ids[recognised.row], machines)
        return Recognised(recognised.rows, np.where(is_left, recognised.row, -1))

    def _rows_of(self, digests: Digests, rows: KnownRows) -> npt.NDArray[np.int64]:
        """Return the row of each record, -1 for one that is not known or came more than once."""
        if not len(rows) or not len(digests):
            return np.full(len(digests), -1, dtype="int64")
        kept = self.judgement.unseal(rows.digests, rows.plant_ids)
        order = np.argsort(kept)
        place = np.minimum(np.searchsorted(kept[order], digests), len(kept) - 1)
        row = np.where(kept[order][place] == digests, order[place], -1)
        times = np.bincount(row[row >= 0], minlength=len(rows))
        row[(row >= 0) & (times[row] > 1)] = -1
        return row


@dataclass(frozen=True)
class Recognised:
    """Which records of a slice are known.

    Attributes:
        rows: that were written from one record each.
        row: of each record, the place of its row among those; -1 for one that is not known.
    """

    rows: KnownRows
    row: npt.NDArray[np.int64]

    @property
    def is_known(self) -> Mask:
        return self.row >= 0

    @property
    def of_plants(self) -> Mapping[int, int]:
        """How many known records each plant has, by `plant_id`."""
        plant_ids, counts = np.unique(self.rows.plant_ids[self.row[self.is_known]], return_counts=True)
        return dict(zip(plant_ids.tolist(), counts.tolist(), strict=True))


def without_known(
    spools: Sequence[RecordSpool], known: KnownRecords, key_fields: tuple[str, ...]
) -> tuple[RecordSpool | None, Mapping[int, int]]:
    """Return the records of a slice that have to be judged, and how many others each plant has, by `plant_id`.

    Args:
        spools: the slice.
        known: see `KnownRecords`.
        key_fields: the source's names of the field with the equipment number.

    Returns:
        The records in a file that the caller closes, None if it is all of them; and the others, counted.
    """
    blocks = [block for spool in spools for block in spool.blocks()]
    records = RawRecords((block, 0, block.count) for block in blocks)
    recognised = known.recognise(records.digests())
    if not recognised.is_known.any():
        return None, {}
    rest = _file_of(records, ~recognised.is_known)
    alone = known.without_machines(recognised, _numbers(rest, key_fields)) if len(rest) else recognised
    if not alone.is_known.any():
        rest.close()
        return None, {}
    if (alone.is_known != recognised.is_known).any():
        rest.close()
        rest = _file_of(records, ~alone.is_known)
    return rest, alone.of_plants


def _file_of(records: RawRecords, is_wanted: Mask) -> RecordSpool:
    """Return the marked records in a file of their own."""
    file = RecordSpool()
    for text, count in records.texts(is_wanted):
        file.append_text(text, count)
    return file


def _numbers(spool: RecordSpool, key_fields: tuple[str, ...]) -> Iterator[Sequence[str]]:
    """Give the numbers of the machines that records name, some at a time."""
    cells: list[object] = []
    for block in spool.blocks():
        cells += block.columns({"key": key_fields}, ())["key"]
        if len(cells) >= _KEYS_TOGETHER:
            yield key_column(cells).dropna().unique().tolist()
            cells.clear()
    yield key_column(cells).dropna().unique().tolist()
