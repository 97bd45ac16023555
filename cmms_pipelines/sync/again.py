"""Any sync by its name and scope: as an operator names it, or as the log of one says that failed.

What belongs here: from names and scopes to the syncs. What does not: the syncs themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.recorded_work_orders import INCREMENTAL
from cmms_pipelines.sync.equipment import sync_equipment
from cmms_pipelines.sync.plants import known_plants, sync_plants
from cmms_pipelines.sync.running_times import sync_running_times
from cmms_pipelines.sync.scope import equipment_numbers, require_synced, running_times_scope
from cmms_pipelines.sync.session import Progress, SyncSession
from cmms_pipelines.sync.work_orders import sync_work_orders

EQUIPMENT, RUNNING_TIMES, WORK_ORDERS = "equipment", "running_times", "work_orders"
NAMED = (EQUIPMENT, RUNNING_TIMES, WORK_ORDERS)


@dataclass(frozen=True)
class Wanted:
    """What an operator asks for; empty: everything. `last_day` is of running hours alone."""

    plants: Sequence[str] = ()
    equipment: Sequence[str] = ()
    first_day: date | None = None
    last_day: date | None = None
    is_full_refresh: bool = False


@dataclass(frozen=True)
class Runner:
    """Does syncs for one run."""

    engine: sa.Engine
    settings: Settings
    run_id: str | None
    progress: Progress

    def named(self, sync_type: str, wanted: Wanted, *, today: date, sync_key: str) -> SyncSession:
        """Do the part of a sync that an operator named.

        Raises:
            PermanentError: a plant, a machine or the sync is not known, or the days are none.
            TransientError: some slices failed for a passing reason.
        """
        shared: dict[str, Any] = {"sync_key": sync_key, "run_id": self.run_id, "progress": self.progress}
        if sync_type == EQUIPMENT:
            session = sync_equipment(
                self.engine,
                self.settings,
                self._plants(wanted.plants),
                equipment_numbers=equipment_numbers(wanted.equipment),
                is_full_refresh=wanted.is_full_refresh,
                **shared,
            )
            require_synced(self.engine, wanted.equipment)
            return session
        if sync_type == RUNNING_TIMES:
            scope = running_times_scope(
                self.engine,
                self.settings,
                plants=wanted.plants,
                equipment=wanted.equipment,
                is_full_refresh=wanted.is_full_refresh,
            )
            return sync_running_times(
                self.engine,
                self.settings,
                days_of(wanted, today=today, first_day=self.settings.first_day),
                plant_codes=scope.plant_codes,
                equipment_numbers=scope.equipment_numbers,
                is_full_refresh=wanted.is_full_refresh,
                **shared,
            )
        if sync_type == WORK_ORDERS:
            plants = list(wanted.plants) or None
            return sync_work_orders(
                self.engine, self.settings, today=today, first_day=wanted.first_day, plant_codes=plants, **shared
            )
        raise PermanentError(f"There is no sync {sync_type!r}: take {', '.join(NAMED)}.")

    def of_scope(self, sync_type: str, scope: Mapping[str, Any], *, today: date, sync_key: str) -> SyncSession:
        """Do a sync again as its log says; slices that are done under `sync_key` are left out. Raises as `named` does."""
        if sync_type == "plants":
            return sync_plants(self.engine, self.settings, sync_key=sync_key, run_id=self.run_id, progress=self.progress)
        plants = [] if scope.get("plants") in (None, "all") else list(scope["plants"])
        is_incremental = bool(scope.get(INCREMENTAL))
        wanted = Wanted(
            plants,
            scope.get("equipment", ()),
            date.fromisoformat(scope["from"]) if scope.get("from") and not is_incremental else None,
            date.fromisoformat(scope["to"]) if scope.get("to") else None,
            bool(scope.get("full_refresh")),
        )
        is_past = sync_type == WORK_ORDERS and not is_incremental and wanted.last_day is not None
        return self.named(sync_type, wanted, today=wanted.last_day if is_past and wanted.last_day else today, sync_key=sync_key)

    def _plants(self, plants: Sequence[str]) -> list[str]:
        if plants:
            return running_times_scope(self.engine, self.settings, plants=plants).plant_codes or []
        known = known_plants(self.engine)
        active: list[str] = known.loc[known["is_active"], "plant_code"].to_list()
        return active


def days_of(wanted: Wanted, *, today: date, first_day: date) -> list[date]:
    """Return the days of running hours that are meant: without any, yesterday; with the first alone, that one.

    Raises:
        PermanentError: they are not in order, not over yet, or before the first partition.
    """
    first = wanted.first_day or wanted.last_day or today - timedelta(days=1)
    last = wanted.last_day or first
    if not first_day <= first <= last < today:
        raise PermanentError(
            f"Running hours are there from {first_day} to {today - timedelta(days=1)}: {first} to {last} is not within."
        )
    return list(_days(first, last))


def _days(first: date, last: date) -> Iterator[date]:
    return (first + timedelta(days=number) for number in range((last - first).days + 1))
