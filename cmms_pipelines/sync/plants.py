"""Sync the plants: reference data that everything else refers to."""

import time
from collections.abc import Sequence

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.contracts import LENGTHS, failures_of
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.quarantine import record_keys
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.rejections import refused_rows
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import plants as plants_storage
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.sync.ahead import Ahead
from cmms_pipelines.sync.control import Patience
from cmms_pipelines.sync.reader import Mapped
from cmms_pipelines.sync.session import Progress, Slice, SyncSession, sync_session
from cmms_pipelines.sync.source import connect_source, plant_records, source_dialect
from cmms_pipelines.sync.writer import Judged, judged_chunk, write_chunks, write_kept


def sync_plants(engine: sa.Engine, settings: Settings, *, sync_key: str, run_id: str | None, progress: Progress) -> SyncSession:
    """Bring the plants of the file or the API into `cmms.plants`.

    Raises:
        TransientError: the source or the database does not answer.
        PermanentError: the source has no plants, or refuses us.
    """
    scope = {"source": "file" if settings.plants_file else "api"}
    dialect = source_dialect(settings)
    with sync_session(
        engine,
        "plants",
        scope,
        sync_key=sync_key,
        run_id=run_id,
        progress=progress,
        dialect=dialect,
        patience=Patience.of(settings),
    ) as session:
        started = time.perf_counter()
        with connect_source(settings, session.on_call, run_id) as api:
            records = plant_records(settings, api)
        seconds = time.perf_counter() - started
        known = SyncCounts(stage_seconds={"fetch": seconds})
        mapped = Mapped(records, dialect.plants_frame(records))
        slices = [Slice(("(all)",))]
        session.plan(slices)
        session.run_slices(
            slices,
            lambda piece: write_chunks(
                session, piece, lambda: Ahead([mapped]), lambda chunk: _judge(chunk, dialect), known=known
            ),
            max_in_flight=1,
        )
    return session


def write_kept_plants(
    session: SyncSession, piece: Slice, dialect: Dialect, records: Sequence[RawRecord], kept_keys: Sequence[str]
) -> SyncCounts:
    """Judge and write records from the quarantine, which bring the keys under which they are kept there."""
    keys = pd.Series(kept_keys, dtype="str")
    return write_kept(session, piece, Mapped(records, dialect.plants_frame(records)), lambda chunk: _judge(chunk, dialect, keys))


def _judge(mapped: Mapped, dialect: Dialect, kept_keys: pd.Series | None = None) -> Judged:
    failures = failures_of("plants", mapped.frame)
    accepted = mapped.frame.drop(index=refused_rows(failures))
    rows = accepted.assign(time_zone=accepted["time_zone"].fillna("UTC")).reset_index(drop=True)
    keys = record_keys(mapped.records, mapped.frame, ["plant_code"], dialect.plant_mapping) if kept_keys is None else kept_keys
    return judged_chunk(
        mapped, failures, keys, dialect.plant_mapping, lambda connection: plants_storage.write(connection, rows), merged=0
    )


def known_plants(engine: sa.Engine) -> pd.DataFrame:
    """Return the plants as they are stored: plant_id, plant_code, time_zone, is_active.

    Raises:
        TransientError, PermanentError: see `storage.availability.when_available`.
    """

    def ask() -> pd.DataFrame:
        with engine.connect() as connection:
            return plants_storage.read(connection)

    return when_available(engine, ask)


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
