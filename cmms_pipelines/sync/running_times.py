"""Sync the running hours of some days and plants.

What belongs here: what is asked of the source, and the order of days. What does not: judging and writing what came
(`sync.readings`).
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.quality import equipment_per_plant
from cmms_pipelines.sync.control import Patience
from cmms_pipelines.sync.plants import known_plants
from cmms_pipelines.sync.reader import SliceReader
from cmms_pipelines.sync.readings import ReadingsWriter
from cmms_pipelines.sync.session import Progress, Slice, SyncSession, require_plants, sync_session
from cmms_pipelines.sync.slices import work_through
from cmms_pipelines.sync.source import connect_source, fetch, source_dialect

_MOST_MACHINES = 100_000  # of a slice of several plants


def sync_running_times(
    engine: sa.Engine,
    settings: Settings,
    days: Sequence[date],
    *,
    plant_codes: Sequence[str] | None = None,
    equipment_numbers: Sequence[str] | None = None,
    is_full_refresh: bool = False,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
) -> SyncSession:
    """Bring the readings of `days` into `cmms.equipment_running_times`, day by day, several plants at once.

    Args:
        engine: of the `cmms` database.
        settings: where the source is, how hard it may be asked, and how much is worked on at a time.
        days: business days at the plants.
        plant_codes: only these plants; by default all active ones.
        equipment_numbers: only these machines; the source is asked for their plants and the rest is left out, uncounted.
        is_full_refresh: every record is judged, also one that came before; noted in the log. What else it means is in
            `sync_key` (no earlier attempt) and `plant_codes` (all plants).
        sync_key: what the retries of this sync share.
        run_id: of the Dagster run.
        progress: told after each slice.

    Raises:
        TransientError: some slices failed for a passing reason; a retry with the same `sync_key` does only those.
        PermanentError: no plants, a source that refuses us, or unusable configuration.
    """
    plants = known_plants(engine)
    active = plants.loc[plants["is_active"], "plant_code"].to_list()
    codes = sorted(plant_codes) if plant_codes else active
    require_plants(codes)
    scope: dict[str, Any] = {
        "from": min(days).isoformat(),
        "to": max(days).isoformat(),
        "plants": sorted(plant_codes) if plant_codes else "all",
    }
    if equipment_numbers:
        scope["equipment"] = sorted(equipment_numbers)
    if is_full_refresh:
        scope["full_refresh"] = True
    dialect = source_dialect(settings)
    batches = list(_batches(codes, settings, equipment_per_plant(engine)))
    slices = [Slice(batch, day) for day in sorted(days) for batch in batches]
    with (
        sync_session(
            engine,
            "running_times",
            scope,
            sync_key=sync_key,
            run_id=run_id,
            progress=progress,
            dialect=dialect,
            patience=Patience.of(settings),
        ) as session,
        connect_source(settings, session.on_call, run_id) as api,
    ):
        session.plan(slices)
        creates_plants = settings.on_unknown_plant is UnknownPlantPolicy.CREATE
        writer = ReadingsWriter(session, dialect, plants, creates_plants=creates_plants)
        may_begin = threading.Semaphore(1)  # a chunk of every slice that waits would be as much memory again

        def read(piece: Slice) -> SliceReader:
            day = _day_of(piece)
            return SliceReader(
                fetch(lambda codes: api.running_times(codes, day, day), piece.plant_codes, settings),
                writer.frame_of,
                dialect.running_time_mapping["equipment_number"],
                chunk_rows=settings.sync_chunk_rows,
                equipment_numbers=equipment_numbers,
                known=None if is_full_refresh or equipment_numbers else writer.known(piece),
                may_begin=may_begin,
            )

        when_available(engine, lambda: writer.prepare(days))
        work_through(session, slices, read, writer.write, in_flight=settings.sync_slices_in_flight)
    return session


def _batches(codes: Sequence[str], settings: Settings, machines: Mapping[str, int]) -> Iterator[tuple[str, ...]]:
    """Cut plants into those of one slice each: as many as the settings say, unless they have too many machines.

    Of each record of a slice something is kept until it is written, so a slice does not grow with the plants. One plant is never
    cut, however large. `machines` says how many each plant has.
    """
    batch: list[str] = []
    room = _MOST_MACHINES
    for code in codes:
        count = machines.get(code, 0)
        if batch and (len(batch) == settings.sync_plants_per_slice or count > room):
            yield tuple(batch)
            batch, room = [], _MOST_MACHINES
        batch.append(code)
        room -= count
    if batch:
        yield tuple(batch)


def _day_of(piece: Slice) -> date:
    if piece.day is None:
        raise ValueError("a slice of running hours has a day")
    return piece.day
