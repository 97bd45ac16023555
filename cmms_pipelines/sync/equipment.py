"""Sync the equipment masters of some plants."""

import time
from collections.abc import Sequence
from typing import Any

import pandas as pd
import sqlalchemy as sa

from cmms_pipelines.clients.api import ConnectedApi
from cmms_pipelines.domain.classification import GroupRule
from cmms_pipelines.domain.equipment import JudgedEquipment, judge
from cmms_pipelines.domain.quarantine import record_keys, refused_by_rule, refused_count, rejected_frame
from cmms_pipelines.domain.records import IMS_EQUIPMENT, equipment_frame
from cmms_pipelines.domain.rejections import refused_rows
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage import equipment as equipment_storage
from cmms_pipelines.storage import plants as plants_storage
from cmms_pipelines.storage import rejections
from cmms_pipelines.sync.plants import known_plants, with_created
from cmms_pipelines.sync.session import SLICES_IN_FLIGHT, Progress, Slice, SyncSession, require_plants, sync_session
from cmms_pipelines.sync.source import batched, connect_source, fetch_all, group_rules

WITHOUT_PLANT = ""  # asks the source for masters that name no plant, so that they are refused where one can see them


def sync_equipment(
    engine: sa.Engine, settings: Settings, plant_codes: Sequence[str], *, sync_key: str, run_id: str | None, progress: Progress
) -> SyncSession:
    """Bring the masters of `plant_codes` into `cmms.equipment`; all known plants include masters without any.

    Raises:
        TransientError: some slices failed for a passing reason; a retry with the same `sync_key` does only those.
        PermanentError: no plants, a source that refuses us, or unusable configuration.
    """
    plants = known_plants(engine)
    require_plants(plant_codes)
    active = set(plants.loc[plants["is_active"], "plant_code"])
    is_full = bool(active) and active <= set(plant_codes)
    scope: dict[str, Any] = {"plants": "all"} if is_full else {"plants": sorted(plant_codes)}
    rules = group_rules(settings)
    slices = [Slice(tuple(batch)) for batch in batched(sorted(plant_codes), settings.sync_plants_per_slice)]
    slices += [Slice((WITHOUT_PLANT,))] if is_full else []
    with (
        sync_session(engine, "equipment", scope, sync_key=sync_key, run_id=run_id, progress=progress) as session,
        connect_source(settings, session.on_call) as api,
    ):
        session.plan(slices)
        session.run_slices(
            slices,
            lambda piece: _sync_slice(session, api, piece, settings, plants=plants, rules=rules),
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
    rules: Sequence[GroupRule],
) -> SyncCounts:
    started = time.perf_counter()
    records = fetch_all(api.equipment, piece.plant_codes, settings)
    fetched = time.perf_counter()
    zones = dict(zip(plants["plant_code"], plants["time_zone"], strict=True))
    frame = equipment_frame(records, zones)
    if settings.on_unknown_plant is UnknownPlantPolicy.CREATE:
        plants = with_created(session.engine, frame["plant_code"], plants)
    judged = judge(frame, plants, rules)
    keys = record_keys(records, frame, ["equipment_number", "plant_code"], IMS_EQUIPMENT)
    rejected = rejected_frame(records, frame, judged.failures, keys, IMS_EQUIPMENT)
    accepted_keys = keys.drop(index=refused_rows(judged.failures)).to_list()
    counts = SyncCounts(received=len(records), refused=refused_count(judged.failures), merged=judged.records_merged)
    counts.refused_by_rule.update(refused_by_rule(judged.failures))
    counts.stage_seconds.update({"fetch": fetched - started, "validate": time.perf_counter() - fetched})

    def apply(connection: sa.Connection) -> SyncCounts:
        rejections.store(connection, "equipment", session.log.id, rejected)
        rejections.close_accepted(
            connection, "equipment", accepted_keys, actor="sync", reason="the record came again and was accepted"
        )
        return equipment_storage.write(connection, _with_group_ids(connection, judged, rules))

    return session.write(piece, counts, apply)


def _with_group_ids(connection: sa.Connection, judged: JudgedEquipment, rules: Sequence[GroupRule]) -> pd.DataFrame:
    documented: dict[str, dict[str, Any]] = {rule.name: rule.model_dump(exclude_none=True) for rule in rules if rule.name}
    names = judged.rows["equipment_group"].dropna().unique().tolist()
    ids = plants_storage.ensure_groups(connection, documented, names)
    return judged.rows.assign(equipment_group_id=judged.rows["equipment_group"].map(ids).astype("Int64"))
