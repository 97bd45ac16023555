"""The master data: plants, and the equipment of each."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from cmms_pipelines.defs.metadata import KINDS, OWNERS, definition_metadata, newest_rows_metadata, replay_metadata, sync_metadata
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.defs.running import (
    EXTERNAL_API_POOL,
    SYNC_RETRIES,
    operator_errors,
    replay_key,
    runs_in_flight,
    sync_key,
)
from cmms_pipelines.storage.tables import equipment as equipment_table
from cmms_pipelines.storage.tables import plants as plants_table

if TYPE_CHECKING:
    import sqlalchemy as sa

PLANTS = dg.DynamicPartitionsDefinition(name="plants")
EQUIPMENT_JOB = "sync_equipment"


class EquipmentConfig(dg.Config):
    """What part of the selected plants to sync, and how."""

    equipment: list[str] = Field(default=[], description="Equipment numbers, such as N190JB; empty: all machines.")
    full_refresh: bool = Field(
        default=False,
        description="Ask for every selected plant again, also for those that an earlier attempt of this run has finished.",
    )


@dataclass(frozen=True)
class PartitionChanges:
    """What has to happen for the partitions to follow the plants."""

    added: list[str]
    removed: list[str]


def partition_changes(plants: Mapping[str, bool], existing: Collection[str], *, is_in_flight: bool) -> PartitionChanges:
    """Compare active plants (code -> is_active) with the partitions; nothing is removed while a run may be using it."""
    active = [code for code, is_active in sorted(plants.items()) if is_active]
    added = [code for code in active if code not in existing]
    removed = [] if is_in_flight else [code for code in sorted(existing) if code not in active]
    return PartitionChanges(added, removed)


@dg.asset(
    key=["cmms", "plants"],
    group_name="equipment",
    kinds=KINDS,
    owners=OWNERS,
    metadata=definition_metadata(plants_table),
    description=(
        "The plants of the maintenance department: reference data from CMMS_PLANTS_FILE or the external API. "
        "Equipment partitions follow the active ones; machines and readings that waited for a plant are applied."
    ),
    pool=EXTERNAL_API_POOL,
    retry_policy=SYNC_RETRIES,
)
def plants(context: dg.AssetExecutionContext, warehouse: Warehouse, source_system: SourceSystem) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Sync the plants and bring the partitions of equipment up to date."""
    with operator_errors(context):
        from cmms_pipelines.sync.plants import sync_plants  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.sync.replay import replaying_arrived  # noqa: PLC0415

        engine, run_id = warehouse.engine(), context.run.run_id
        settings = source_system.in_force(warehouse, context.log.warning)
        key, tell = sync_key(context, "plants"), context.log.info
        with replaying_arrived(engine, settings, sync_key=replay_key(context, key), run_id=run_id, progress=tell) as arrived:
            session = sync_plants(engine, settings, sync_key=key, run_id=run_id, progress=tell)
            is_active = follow_plants(context.instance, engine)
        return dg.MaterializeResult(
            metadata={
                **sync_metadata(session),
                **replay_metadata(arrived),
                "dagster/row_count": len(is_active),
                "active_plants": sum(is_active.values()),
                **newest_rows_metadata(warehouse.address(), "plants"),
            }
        )


@dg.asset(
    key=["cmms", "equipment"],
    deps=[["cmms", "plants"]],
    group_name="equipment",
    partitions_def=PLANTS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    kinds=KINDS,
    owners=OWNERS,
    metadata=definition_metadata(equipment_table),
    description=(
        "Equipment master data, one partition per plant: every machine with its plant, group, company and classification. "
        "Unchanged machines are not written; machines are deactivated by a flag of the source, never by absence; refused "
        "records are in cmms.sync_rejections."
    ),
    pool=EXTERNAL_API_POOL,
    retry_policy=SYNC_RETRIES,
)
def equipment(
    context: dg.AssetExecutionContext, config: EquipmentConfig, warehouse: Warehouse, source_system: SourceSystem
) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Sync the equipment of the selected plants, and apply what was waiting for it."""
    with operator_errors(context):
        from cmms_pipelines.storage.quality import equipment_per_plant  # noqa: PLC0415 - keeps start-up light
        from cmms_pipelines.sync.equipment import sync_equipment  # noqa: PLC0415
        from cmms_pipelines.sync.replay import replaying_arrived  # noqa: PLC0415
        from cmms_pipelines.sync.scope import equipment_numbers, require_synced  # noqa: PLC0415

        engine, run_id = warehouse.engine(), context.run.run_id
        settings = source_system.in_force(warehouse, context.log.warning)
        key, tell = sync_key(context, "equipment", is_full_refresh=config.full_refresh), context.log.info
        with replaying_arrived(engine, settings, sync_key=replay_key(context, key), run_id=run_id, progress=tell) as arrived:
            session = sync_equipment(
                engine,
                settings,
                context.partition_keys,
                equipment_numbers=equipment_numbers(config.equipment),
                is_full_refresh=config.full_refresh,
                sync_key=key,
                run_id=run_id,
                progress=tell,
            )
            require_synced(engine, config.equipment)
        rows = equipment_per_plant(engine)
        for plant_code in context.partition_keys:
            context.add_asset_metadata({"dagster/partition_row_count": rows.get(plant_code, 0)}, partition_key=plant_code)
        if context.partition_keys:
            newest = newest_rows_metadata(warehouse.address(), "equipment")  # on one of the partitions: there may be hundreds
            context.add_asset_metadata(newest, partition_key=context.partition_keys[-1])
        return dg.MaterializeResult(
            metadata={**sync_metadata(session), **replay_metadata(arrived), "dagster/row_count": sum(rows.values())}
        )


def follow_plants(instance: dg.DagsterInstance, engine: "sa.Engine") -> Mapping[str, bool]:
    """Bring the partitions of equipment up to date with the plants, and return these: code -> is_active."""
    from cmms_pipelines.sync.plants import known_plants  # noqa: PLC0415 - keeps start-up light

    known = known_plants(engine)
    plants = {str(code): bool(active) for code, active in zip(known["plant_code"], known["is_active"], strict=True)}
    name = str(PLANTS.name)
    changes = partition_changes(
        plants, instance.get_dynamic_partitions(name), is_in_flight=runs_in_flight(instance, EQUIPMENT_JOB)
    )
    if changes.added:
        instance.add_dynamic_partitions(name, changes.added)
    for plant_code in changes.removed:
        instance.delete_dynamic_partition(name, plant_code)
    return plants
