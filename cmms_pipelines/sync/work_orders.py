"""Sync the work orders that changed in some days, and become those of one system as its events do.

What belongs here: what is asked of the source, and judging and writing what came. What does not: what an order becomes
(`domain.work_orders`), and how it meets what events told of it (`storage.recorded_work_orders`).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.judged_work_orders import KEY, judge, payloads
from cmms_pipelines.domain.quarantine import record_keys
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.tallies import tally_of
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import recorded_work_orders
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.equipment_lookup import find_equipment
from cmms_pipelines.sync.control import Patience
from cmms_pipelines.sync.plants import known_plants
from cmms_pipelines.sync.reader import Mapped, SliceReader
from cmms_pipelines.sync.session import Progress, Slice, SyncSession, require_plants, sync_session
from cmms_pipelines.sync.slices import work_through
from cmms_pipelines.sync.source import batched, connect_source, fetch, source_dialect
from cmms_pipelines.sync.writer import Judged, judged_chunk, write_kept, write_slice

DAYS_PER_SLICE = 31
MINIMUM_FIRST_DAY = date(1990, 1, 1)


def sync_work_orders(
    engine: sa.Engine,
    settings: Settings,
    *,
    today: date,
    first_day: date | None = None,
    plant_codes: Sequence[str] | None = None,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
) -> SyncSession:
    """Bring the orders that changed from `first_day` to `today` into `cmms.work_orders`, as those of CMMS_API_SYSTEM_ID.

    Args:
        engine: of the `cmms` database.
        settings: where the source is, how hard it may be asked, and how much is worked on at a time.
        today: the last day, by the clock of CMMS_TIME_ZONE.
        first_day: by default CMMS_LOOK_BACK_DAYS before the end of the sync before, and CMMS_FIRST_DAY where there was none.
        plant_codes: only these plants; by default all active ones.
        sync_key: what the retries of this sync share.
        run_id: of the Dagster run.
        progress: told after each slice.

    Raises:
        TransientError: some slices failed for a passing reason; a retry with the same `sync_key` does only those.
        PermanentError: no plants, a first day after the last, a source that refuses us, or unusable configuration.
    """
    plants = known_plants(engine)
    active = plants.loc[plants["is_active"], "plant_code"].to_list()
    codes = sorted(set(plant_codes or active))
    require_plants(codes)
    unknown = sorted(set(codes) - set(plants["plant_code"]))
    if unknown:
        raise PermanentError(f"Unknown plant code {', '.join(unknown)}: nothing was synced; run sync_plants if it is new.")
    first = first_day or _incremental_first_day(engine, settings, today)
    if not MINIMUM_FIRST_DAY <= first <= today:
        raise PermanentError(
            f"The first day {first} is before {MINIMUM_FIRST_DAY} or after the last, {today}: nothing was synced."
        )
    scope: dict[str, Any] = {
        "from": first.isoformat(),
        "to": today.isoformat(),
        "plants": codes if plant_codes else "all",
        recorded_work_orders.INCREMENTAL: first_day is None,
    }
    dialect = source_dialect(settings)
    ends = _windows(first, today)
    slices = [Slice(tuple(batch), day) for day in ends for batch in batched(codes, settings.sync_plants_per_slice)]
    with (
        sync_session(
            engine,
            recorded_work_orders.SYNC_TYPE,
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
        writer = WorkOrdersWriter(session, settings, dialect, plants)

        def read(piece: Slice) -> SliceReader:
            start = piece.day or first
            return SliceReader(
                fetch(lambda codes: api.work_orders(codes, start, ends[start]), piece.plant_codes, settings),
                writer.frame_of,
                dialect.work_order_mapping["equipment_number"],
                chunk_rows=settings.sync_chunk_rows,
            )

        # one slice at a time: an order that moved between plants is in two of them
        work_through(session, slices, read, writer.write, in_flight=1)
    return session


class WorkOrdersWriter:
    """Judges the orders of slices and applies them; what is refused goes whole into the quarantine."""

    def __init__(self, session: SyncSession, settings: Settings, dialect: Dialect, plants: pd.DataFrame) -> None:
        """`plants` are the known ones: plant_id, plant_code, time_zone."""
        self._session = session
        self._system = settings.api_system_id
        self._dialect = dialect
        self._plants = plants
        self._plant_ids = dict(zip(plants["plant_code"], plants["plant_id"], strict=True))
        self._zones = dict(zip(plants["plant_code"], plants["time_zone"], strict=True))

    def frame_of(self, records: Sequence[RawRecord]) -> pd.DataFrame:
        """Return the canonical frame of some records."""
        return self._dialect.work_orders_frame(records, self._zones)

    def write(self, piece: Slice, reader: SliceReader) -> SyncCounts:
        """Judge and write one slice; raises as `write_chunks` does."""
        return write_slice(self._session, piece, reader, self._plants, self._judge)

    def write_kept(self, piece: Slice, records: Sequence[RawRecord], kept_keys: Sequence[str]) -> SyncCounts:
        """Judge and write records from the quarantine, which bring the keys under which they are kept there."""
        keys = pd.Series(kept_keys, dtype="str")
        mapped = Mapped(records, self.frame_of(records))
        return write_kept(self._session, piece, mapped, lambda chunk: self._judge(chunk, keys))

    def _judge(self, mapped: Mapped, kept_keys: pd.Series | None = None) -> Judged:
        frame, mapping = mapped.frame, self._dialect.work_order_mapping
        with self._session.engine.connect() as connection:
            known = find_equipment(connection, frame["equipment_number"].dropna().tolist())
        judged = judge(frame, self._plant_ids, {number: machine.id for number, machine in known.items()})
        keys = record_keys(mapped.records, frame, KEY, mapping) if kept_keys is None else kept_keys

        def write(connection: sa.Connection) -> SyncCounts:
            told = list(payloads(judged.rows))
            log_id = self._session.log.id
            written = recorded_work_orders.write(connection, self._system, told, known, sync_log_id=log_id)
            return SyncCounts(inserted=written.inserted, updated=written.updated, unchanged=written.unchanged)

        return judged_chunk(
            mapped,
            judged.failures,
            keys,
            mapping,
            write,
            merged=judged.records_merged,
            tally=tally_of("work_orders", frame, judged.failures),
        )


def _incremental_first_day(engine: sa.Engine, settings: Settings, today: date) -> date:
    def ask() -> date | None:
        with engine.connect() as connection:
            return recorded_work_orders.last_end(connection)

    end = when_available(engine, ask)
    if end is None:
        return min(settings.first_day, today)
    return min(end, today) - timedelta(days=settings.look_back_days)


def _windows(first: date, last: date) -> dict[date, date]:
    """Return the first day of each window with its last one."""
    starts = [first + timedelta(days=days) for days in range(0, (last - first).days + 1, DAYS_PER_SLICE)]
    return {start: min(start + timedelta(days=DAYS_PER_SLICE - 1), last) for start in starts}
