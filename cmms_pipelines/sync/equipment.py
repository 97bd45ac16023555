"""Sync the equipment masters of some plants."""

import threading
from collections.abc import Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.domain.classification import GroupRule
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.equipment import JudgedEquipment, judge
from cmms_pipelines.domain.quarantine import record_keys
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.record_digests import Judgement
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.domain.tallies import tally_of
from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage import equipment as equipment_storage
from cmms_pipelines.storage import plants as plants_storage
from cmms_pipelines.sync.control import Patience
from cmms_pipelines.sync.known_records import KnownRecords, judgement_of
from cmms_pipelines.sync.plants import known_plants, with_created
from cmms_pipelines.sync.reader import Mapped, SliceReader
from cmms_pipelines.sync.session import Progress, Slice, SyncSession, require_plants, sync_session
from cmms_pipelines.sync.slices import work_through
from cmms_pipelines.sync.source import batched, connect_source, fetch, group_rules, source_dialect
from cmms_pipelines.sync.writer import Judged, judged_chunk, write_kept, write_slice

KEY = ["equipment_number", "plant_code"]
READINGS_A_MASTER_WEIGHS = 8  # in memory, since all of its fields are kept
WITHOUT_PLANT = ""  # asks the source for masters that name no plant, so that they are refused where one can see them


def sync_equipment(
    engine: sa.Engine,
    settings: Settings,
    plant_codes: Sequence[str],
    *,
    equipment_numbers: Sequence[str] | None = None,
    is_full_refresh: bool = False,
    sync_key: str,
    run_id: str | None,
    progress: Progress,
) -> SyncSession:
    """Bring the masters of `plant_codes` into `cmms.equipment`; all known plants include masters without any.

    Args:
        engine: of the `cmms` database.
        settings: where the source is, how hard it may be asked, and how much is worked on at a time.
        plant_codes: whose masters.
        equipment_numbers: only these machines; the source is asked for their plants and the rest is left out, uncounted.
        is_full_refresh: every record is judged, also one that came before; noted in the log. What else it means is in
            `sync_key` (no earlier attempt).
        sync_key: what the retries of this sync share.
        run_id: of the Dagster run.
        progress: told after each slice.

    Raises:
        TransientError: some slices failed for a passing reason; a retry with the same `sync_key` does only those.
        PermanentError: no plants, a source that refuses us, or unusable configuration.
    """
    plants = known_plants(engine)
    require_plants(plant_codes)
    active = set(plants.loc[plants["is_active"], "plant_code"])
    is_full = bool(active) and active <= set(plant_codes)
    scope: dict[str, Any] = {"plants": "all"} if is_full else {"plants": sorted(plant_codes)}
    if equipment_numbers:
        scope["equipment"] = sorted(equipment_numbers)
    if is_full_refresh:
        scope["full_refresh"] = True
    rules = group_rules(settings)
    dialect = source_dialect(settings)
    slices = [Slice(tuple(batch)) for batch in batched(sorted(plant_codes), settings.sync_plants_per_slice)]
    slices += [Slice((WITHOUT_PLANT,))] if is_full else []
    with (
        sync_session(
            engine,
            "equipment",
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
        writer = MastersWriter(session, dialect, plants, rules, creates_plants=creates_plants, system_id=settings.api_system_id)
        may_begin = threading.Semaphore(1)  # a chunk of every slice that waits would be as much memory again

        def read(piece: Slice) -> SliceReader:
            return SliceReader(
                fetch(api.equipment, piece.plant_codes, settings),
                writer.frame_of,
                dialect.equipment_mapping["equipment_number"],
                chunk_rows=max(settings.sync_chunk_rows // READINGS_A_MASTER_WEIGHS, 1),
                equipment_numbers=equipment_numbers,
                known=None if is_full_refresh or equipment_numbers else writer.known(piece),
                may_begin=may_begin,
            )

        work_through(session, slices, read, writer.write, in_flight=settings.sync_slices_in_flight)
    return session


class MastersWriter:
    """Judges the masters of slices and writes them; what is refused goes whole into the quarantine."""

    def __init__(
        self,
        session: SyncSession,
        dialect: Dialect,
        plants: pd.DataFrame,
        rules: Sequence[GroupRule],
        *,
        creates_plants: bool = False,
        system_id: str,
    ) -> None:
        """`rules` give the groups; a plant that nobody knows is created where `creates_plants` says so.

        `system_id` is the system that the external API belongs to, for the merge with what others say of a machine.
        """
        self._session = session
        self._dialect = dialect
        self._plants = plants
        self._zones = dict(zip(plants["plant_code"], plants["time_zone"], strict=True))
        self._rules = rules
        self._creates_plants = creates_plants
        self._system_id = system_id

    def frame_of(self, records: Sequence[RawRecord]) -> pd.DataFrame:
        """Return the canonical frame of some records."""
        return self._dialect.equipment_frame(records, self._zones)

    def known(self, piece: Slice) -> KnownRecords:
        """Return what is known of a slice's records before they are judged."""
        return KnownRecords(self._session.engine, self._judgement(piece), None)

    def write(self, piece: Slice, reader: SliceReader) -> SyncCounts:
        """Judge and write one slice; raises as `write_chunks` does."""
        return write_slice(self._session, piece, reader, self._plants, lambda mapped: self._judge(mapped, self._judgement(piece)))

    def write_kept(self, piece: Slice, records: Sequence[RawRecord], kept_keys: Sequence[str]) -> SyncCounts:
        """Judge and write records from the quarantine, which bring the keys under which they are kept there."""
        keys = pd.Series(kept_keys, dtype="str")
        mapped = Mapped(records, self.frame_of(records))
        return write_kept(self._session, piece, mapped, lambda chunk: self._judge(chunk, None, keys))

    def _judgement(self, piece: Slice) -> Judgement:
        rules = [rule.model_dump() for rule in self._rules]
        facts = (self._dialect.name, self._dialect.has_decimal_comma, dict(self._dialect.equipment_mapping), rules)
        return judgement_of(self._plants, piece.plant_codes, None, *facts)

    def _judge(self, mapped: Mapped, judgement: Judgement | None, kept_keys: pd.Series | None = None) -> Judged:
        frame, mapping = mapped.frame, self._dialect.equipment_mapping
        plants = with_created(self._session.engine, frame["plant_code"], self._plants) if self._creates_plants else self._plants
        judged = judge(frame, plants, self._rules, mapped.digests, judgement)
        rows = self._with_group_ids(judged)
        keys = record_keys(mapped.records, frame, KEY, mapping) if kept_keys is None else kept_keys
        return judged_chunk(
            mapped,
            judged.failures,
            keys,
            mapping,
            lambda connection: equipment_storage.write(connection, rows, self._system_id),
            merged=judged.records_merged,
            tally=tally_of("equipment", frame, judged.failures),
        )

    def _with_group_ids(self, judged: JudgedEquipment) -> pd.DataFrame:
        """Return the rows with their groups' ids; new groups are there for all slices at once, which would wait for this one."""
        documented: dict[str, dict[str, Any]] = {
            rule.name: rule.model_dump(exclude_none=True) for rule in self._rules if rule.name
        }
        names = judged.rows["equipment_group"].dropna().unique().tolist()
        with self._session.engine.begin() as connection:
            ids = plants_storage.ensure_groups(connection, documented, names)
        return judged.rows.assign(equipment_group_id=judged.rows["equipment_group"].map(ids).astype("Int64"))
