"""What is stored around the readings of one slice: asked for once, where that costs less than once a chunk.

What belongs here: when to ask, and handing each chunk its part. What does not: the query (`storage.neighbours`).

A slice of several chunks is most of what its plants have, so one query for all machines of those plants brings nearly every
neighbour of every chunk, and locks those machines before it looks: what it says stays true until the slice is written. Machines
whose masters are at another plant are looked up chunk by chunk, as all are where a slice is small beside its plants. What is
said of those is older than the write; the days that come to something else by then are found under the locks
(`storage.rechecks`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.compute as pc
import sqlalchemy as sa

from cmms_pipelines.domain.regular_cells import as_array
from cmms_pipelines.storage.neighbours import lock_and_read_plants, read_neighbours
from cmms_pipelines.sync.session import Slice

_FEWEST = 10_000  # records, for which one query of all machines is worth while
_MOST = 200_000  # machines, each of which takes about 150 bytes until the slice is written
_MACHINES_A_RECORD = 2
_NOT_FOR_EVER = sa.text("SELECT set_config('lock_timeout', :wait, true)")


@dataclass(frozen=True)
class LookedUp:
    """The neighbours of one chunk.

    Attributes:
        neighbours: see `storage.neighbours.read_neighbours`.
        rows: which of them is that of each record; None where that has to be found by machine and day.
        seconds: that reading them took.
    """

    neighbours: pd.DataFrame
    rows: npt.NDArray[np.int64] | None
    seconds: float


class NeighboursOfSlice:
    """Gives each chunk of a slice its neighbours; used by one thread at a time."""

    def __init__(self, engine: sa.Engine, piece: Slice, count: Callable[[], int], lock_wait_s: float) -> None:
        """`count` tells how many records are to be judged, `lock_wait_s` how long a look waits for a lock."""
        self._engine = engine
        self._piece = piece
        self._count = count
        self._lock_wait = f"{lock_wait_s * 1000:.0f}ms"
        self._of_plants: pd.DataFrame | None = None
        self._numbers = as_array(pd.Series(dtype="str"))

    def begin(self, connection: sa.Connection, *, locks_first: bool = True) -> None:
        """Begin an attempt to write the slice: lock its plants' machines and look at all of them, where that is worth while.

        Args:
            connection: in the transaction that is going to write the slice, with nothing locked so far.
            locks_first: without it each chunk's machines are looked up, and are locked when the chunk is written.
        """
        self._of_plants, count, day = None, self._count(), self._piece.day
        if day is None or count < _FEWEST or not locks_first:
            return
        most = min(_MOST, count * _MACHINES_A_RECORD)
        self._of_plants = lock_and_read_plants(connection, day, self._piece.plant_codes, most)
        if self._of_plants is not None:
            self._numbers = as_array(self._of_plants["equipment_number"])

    def of(self, frame: pd.DataFrame) -> LookedUp:
        """Return the neighbours of a chunk."""
        started = time.perf_counter()
        neighbours, rows = self._found(frame)
        return LookedUp(neighbours, rows, time.perf_counter() - started)

    def _found(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.int64] | None]:
        keys = frame.loc[:, ["equipment_number", "date"]]
        if self._of_plants is None or self._piece.day is None:
            return self._looked_up(keys, frame), None
        found_at = pc.index_in(as_array(keys["equipment_number"]), value_set=self._numbers)
        rows: npt.NDArray[np.int64] = pc.fill_null(found_at, -1).to_numpy().astype("int64")
        rows[(keys["date"] != pd.Timestamp(self._piece.day)).to_numpy()] = -1
        is_missing = rows < 0
        if not is_missing.any():
            return self._of_plants, rows
        found = self._of_plants.take(np.unique(rows[~is_missing])).reset_index(drop=True)
        others = self._looked_up(keys.loc[is_missing], frame)
        return pd.concat([found, others], ignore_index=True) if len(others) else found, None

    def _looked_up(self, keys: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
        own_plants = frame["plant_code"].dropna().unique()
        wanted = keys.dropna().drop_duplicates()
        with self._engine.begin() as connection:  # not the one that writes, which has its hands full
            # A new month that somebody else is about to make waits for our write, and this would wait behind it, for ever.
            connection.execute(_NOT_FOR_EVER, {"wait": self._lock_wait})
            return read_neighbours(connection, wanted, self._piece.plant_codes, own_plants=own_plants)
