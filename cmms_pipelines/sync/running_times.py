"""Sync the running hours of some days and plants."""

import time
from collections.abc import Sequence
from datetime import date
from itertools import groupby
from typing import Any

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.clients.api import ConnectedApi
from cmms_pipelines.domain.quarantine import record_keys, refused_by_rule, refused_count, rejected_frame
from cmms_pipelines.domain.records import IMS_RUNNING_TIME, running_times_frame
from cmms_pipelines.domain.rejections import refused_rows
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.running_times import judge, with_context
from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage import rejections
from cmms_pipelines.storage import running_times as storage
from cmms_pipelines.sync.plants import known_plants, with_created
from cmms_pipelines.sync.session import SLICES_IN_FLIGHT, Progress, Slice, SyncSession, require_plants, sync_session
from cmms_pipelines.sync.source import batched, connect_source, fetch_all


def sync_running_times(
    engine: sa.Engine,
    settings: Settings,
    days: Sequence[date],
    *,
    plant_codes: Sequence[str] | None = None,
    equipment_numbers: Sequence[str] | None = None,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
) -> SyncSession:
    """Bring the readings of `days` into `cmms.equipment_running_times`, day by day, several plants at once.

    Args:
        engine: of the `cmms` database.
        settings: where the source is and how hard it may be asked.
        days: business days at the plants.
        plant_codes: only these plants; by default all active ones.
        equipment_numbers: only these machines; the source is asked for their plants and the rest is left out, uncounted.
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
    with (
        sync_session(engine, "running_times", scope, sync_key=sync_key, run_id=run_id, progress=progress) as session,
        connect_source(settings, session.on_call) as api,
    ):
        slices = [Slice(tuple(batch), day) for day in sorted(days) for batch in batched(codes, settings.sync_plants_per_slice)]
        session.plan(slices)
        for _, of_day in groupby(slices, key=lambda piece: piece.day):  # a day is compared with the one before it
            session.run_slices(
                list(of_day),
                lambda piece: _sync_slice(session, api, piece, settings, plants=plants, equipment_numbers=equipment_numbers),
                max_in_flight=SLICES_IN_FLIGHT,
            )
    return session


def _sync_slice(
    session: SyncSession,
    api: ConnectedApi,
    piece: Slice,
    settings: Settings,
    *,
    plants: pd.DataFrame,
    equipment_numbers: Sequence[str] | None,
) -> SyncCounts:
    day = piece.day
    if day is None:
        raise ValueError("a slice of running hours has a day")
    started = time.perf_counter()
    records = fetch_all(lambda codes: api.running_times(codes, day, day), piece.plant_codes, settings)
    return write_readings(
        session,
        piece,
        records,
        plants,
        equipment_numbers=equipment_numbers,
        creates_plants=settings.on_unknown_plant is UnknownPlantPolicy.CREATE,
        fetch_seconds=time.perf_counter() - started,
    )


def write_readings(
    session: SyncSession,
    piece: Slice,
    records: Sequence[dict[str, Any]],
    plants: pd.DataFrame,
    *,
    equipment_numbers: Sequence[str] | None = None,
    kept_keys: Sequence[str] | None = None,
    creates_plants: bool = False,
    fetch_seconds: float = 0.0,
) -> SyncCounts:
    """Map, judge and write the records of one slice; what is refused goes whole into the quarantine.

    Records that come from the quarantine bring the keys under which they are kept there (`kept_keys`). A plant that nobody
    knows is created where `creates_plants` says so.
    """
    started = time.perf_counter()
    zones = dict(zip(plants["plant_code"], plants["time_zone"], strict=True))
    frame = running_times_frame(records, zones)
    if equipment_numbers:
        wanted = frame["equipment_number"].isin(list(equipment_numbers))
        records = [record for record, is_wanted in zip(records, wanted, strict=True) if is_wanted]
        frame = frame.loc[wanted].reset_index(drop=True)
    if creates_plants:
        plants = with_created(session.engine, frame["plant_code"], plants)
    days = [piece.day] if piece.day else []
    with session.engine.begin() as connection:
        machine_days = frame.loc[:, ["equipment_number", "date"]].dropna().drop_duplicates()
        neighbours = storage.read_neighbours(connection, machine_days, piece.plant_codes)
    judged = judge(with_context(frame, plants, neighbours, days))
    if kept_keys is None:
        keys = record_keys(records, frame, ["equipment_number", "date", "plant_code"], IMS_RUNNING_TIME)
    else:
        keys = pd.Series(kept_keys, dtype="str")
    rejected = rejected_frame(records, frame, judged.failures, keys, IMS_RUNNING_TIME)
    accepted_keys = keys.drop(index=refused_rows(judged.failures)).to_list()
    counts = SyncCounts(
        received=len(records),
        refused=refused_count(judged.failures),
        merged=judged.records_merged,
        warned=judged.records_warned,
    )
    counts.refused_by_rule.update(refused_by_rule(judged.failures))
    counts.stage_seconds.update({"fetch": fetch_seconds, "validate": time.perf_counter() - started})

    def apply(connection: sa.Connection) -> SyncCounts:
        rejections.store(connection, "running_times", session.log.id, rejected)
        rejections.close_accepted(
            connection, "running_times", accepted_keys, actor="sync", reason="the record came again and was accepted"
        )
        return storage.write(connection, judged.rows)

    return session.write(piece, counts, apply)
