"""Sync the plants: reference data that everything else refers to."""

import time
from typing import Any

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.contracts import LENGTHS, failures_of
from cmms_pipelines.domain.quarantine import record_keys, refused_by_rule, refused_count, rejected_frame
from cmms_pipelines.domain.records import IMS_PLANT, plants_frame
from cmms_pipelines.domain.rejections import refused_rows
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import plants as plants_storage
from cmms_pipelines.storage import rejections
from cmms_pipelines.sync.session import Progress, Slice, SyncSession, sync_session
from cmms_pipelines.sync.source import connect_source, plant_records


def sync_plants(engine: sa.Engine, settings: Settings, *, sync_key: str, run_id: str | None, progress: Progress) -> SyncSession:
    """Bring the plants of the file or the API into `cmms.plants`.

    Raises:
        TransientError: the source or the database does not answer.
        PermanentError: the source has no plants, or refuses us.
    """
    scope = {"source": "file" if settings.plants_file else "api"}
    with sync_session(engine, "plants", scope, sync_key=sync_key, run_id=run_id, progress=progress) as session:
        started = time.perf_counter()
        with connect_source(settings, session.on_call) as api:
            records = plant_records(settings, api)
        fetched = time.perf_counter() - started
        slices = [Slice(("(all)",))]
        session.plan(slices)
        session.run_slices(slices, lambda piece: _write(session, piece, records, fetched), max_in_flight=1)
    return session


def _write(session: SyncSession, piece: Slice, records: list[dict[str, Any]], fetch_seconds: float) -> SyncCounts:
    started = time.perf_counter()
    frame = plants_frame(records)
    failures = failures_of("plants", frame)
    accepted = frame.drop(index=refused_rows(failures))
    rows = accepted.assign(time_zone=accepted["time_zone"].fillna("UTC")).reset_index(drop=True)
    keys = record_keys(records, frame, ["plant_code"], IMS_PLANT)
    rejected = rejected_frame(records, frame, failures, keys, IMS_PLANT)
    counts = SyncCounts(received=len(records), refused=refused_count(failures))
    counts.refused_by_rule.update(refused_by_rule(failures))
    counts.stage_seconds.update({"fetch": fetch_seconds, "validate": time.perf_counter() - started})

    def apply(connection: sa.Connection) -> SyncCounts:
        rejections.store(connection, "plants", session.log.id, rejected)
        rejections.close_accepted(
            connection,
            "plants",
            keys.loc[accepted.index].to_list(),
            actor="sync",
            reason="the record came again and was accepted",
        )
        return plants_storage.write(connection, rows)

    return session.write(piece, counts, apply)


def known_plants(engine: sa.Engine) -> pd.DataFrame:
    """Return the plants as they are stored: plant_id, plant_code, time_zone, is_active."""
    with engine.connect() as connection:
        return plants_storage.read(connection)


def with_created(engine: sa.Engine, plant_codes: pd.Series, plants: pd.DataFrame) -> pd.DataFrame:
    """Create the plants that records name and `plants` lacks (CMMS_ON_UNKNOWN_PLANT=create); return all plants.

    A code that is too long for one is left to the contract, which refuses its records.
    """
    unknown = set(plant_codes[plant_codes.str.len() <= LENGTHS["plant_code"]]) - set(plants["plant_code"])
    if not unknown:
        return plants
    with engine.begin() as connection:
        plants_storage.create_missing(connection, unknown)
    return known_plants(engine)
