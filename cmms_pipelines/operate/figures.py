"""The demo's figures, read from where they can be checked: the database on one side, the external system on the other."""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import httpx
import sqlalchemy as sa

from cmms_pipelines.operate.demo_events import SYSTEM, Machine
from cmms_pipelines.operate.summary import SyncFigures
from cmms_pipelines.storage.sync_log import read_of_run
from cmms_pipelines.storage.tables import (
    api_sync_logs,
    counter_events,
    equipment,
    equipment_groups,
    equipment_running_times,
    local_edits,
    maintenance_event_hooks,
    plants,
    sync_conflicts,
    sync_rejections,
    work_orders,
)

COUNTED = (
    plants, equipment_groups, equipment, equipment_running_times, counter_events, sync_rejections, api_sync_logs,
    maintenance_event_hooks, work_orders, local_edits, sync_conflicts,
)  # fmt: skip

_MACHINES = sa.text(f"""
    SELECT machine.equipment_number, machine.equipment_description AS description, max(reading.cumulative_hours) AS counter_h
    FROM {equipment.fullname} AS machine
    JOIN {equipment_running_times.fullname} AS reading ON reading.equipment_id = machine.id
    WHERE reading.date BETWEEN :first AND :last AND reading.cumulative_hours IS NOT NULL
    GROUP BY machine.id ORDER BY machine.equipment_number
""")  # noqa: S608 - table names of our own

_INBOX = sa.text(f"""
    SELECT count(*) FILTER (WHERE processing_status = 'processed') AS applied,
           count(*) FILTER (WHERE processing_status = 'ignored') AS ignored,
           count(*) FILTER (WHERE processing_status = 'held') AS held,
           count(*) FILTER (WHERE processing_status = 'pending') AS unfinished,
           count(*) FILTER (WHERE processing_status IN ('quarantined', 'dead_letter')) AS failed,
           count(*) FILTER (WHERE processing_status = 'processed' AND dagster_run_id IS NULL) AS without_run,
           array_remove(array_agg(DISTINCT dagster_run_id), NULL) AS runs,
           percentile_cont(ARRAY[0.5, 0.95, 1.0]) WITHIN GROUP (ORDER BY extract(epoch FROM processed_at - created_at))
               FILTER (WHERE processing_status IN ('processed', 'ignored')) AS latencies
    FROM {maintenance_event_hooks.fullname}
    WHERE cmms_system_id = :system AND dedup_key = ANY(:keys)
""")  # noqa: S608 - table names of our own


def in_source(address: str, token: str, first: dt.date, last: dt.date) -> tuple[dict[str, int], list[str]]:
    """Ask the external system itself: records by sync type, and numbers of machines that read but are in no master."""
    window = {"start_date": first.isoformat(), "end_date": last.isoformat()}
    with httpx.Client(base_url=address, headers={"Authorization": token}, timeout=60, trust_env=False) as client:
        records = {
            "plants": client.get("/plants").json()["data"],
            "equipment": client.get("/equipments").json()["data"],
            "running_times": client.get("/equipments/jam-jalan", params=window).json()["data"],
        }
    masters = {record["EQUNR"] for record in records["equipment"]}
    strangers = sorted({record["EQUNR"] for record in records["running_times"]} - masters)
    return {sync_type: len(found) for sync_type, found in records.items()}, strangers


def sync_figures(engine: sa.Engine, sync_type: str, run_id: str, in_source: int) -> SyncFigures | None:
    """Return the figures of a run's sync of this type, or None if its log has none."""
    rows = [row for row in read_of_run(engine, run_id) if row["sync_type"] == sync_type]
    if not rows:
        return None
    row: Mapping[str, Any] = rows[0]
    by_rule = (
        sa.select(sync_rejections.c.rule, sa.func.count())
        .where(sync_rejections.c.sync_log_id == row["id"])
        .group_by(sync_rejections.c.rule)
        .order_by(sa.func.count().desc())
    )
    with engine.connect() as connection:
        refused_by_rule: dict[str, int] = dict(connection.execute(by_rule).tuples().all())
    return SyncFigures(
        sync_type=sync_type,
        status=row["status"],
        run_id=run_id,
        in_source=in_source,
        received=row["records_processed"],
        stored=row["records_success"],
        refused=row["records_failed"],
        inserted=row["records_inserted"],
        updated=row["records_updated"],
        unchanged=row["records_unchanged"],
        merged=row["records_merged"],
        warned=row["records_warned"],
        refused_by_rule=refused_by_rule,
    )


def active_plants(engine: sa.Engine) -> list[str]:
    """Return the codes of the active plants, in their order."""
    with engine.connect() as connection:
        query = sa.select(plants.c.plant_code).where(plants.c.is_active).order_by(plants.c.plant_code)
        return list(connection.scalars(query))


def machines_with_readings(engine: sa.Engine, first: dt.date, last: dt.date) -> list[Machine]:
    """Return the machines that have readings in these days, each with its highest counter of them."""
    with engine.connect() as connection:
        rows = connection.execute(_MACHINES, {"first": first, "last": last}).all()
    return [Machine(row.equipment_number, row.description or "", row.counter_h) for row in rows]


def inbox_figures(engine: sa.Engine, event_ids: Sequence[str]) -> dict[str, Any]:
    """Return how many of these events of the demo are in which state, the runs that did it, and their latencies in seconds."""
    with engine.connect() as connection:
        return dict(connection.execute(_INBOX, {"system": SYSTEM, "keys": _keys(event_ids)}).mappings().one())


def known_events(engine: sa.Engine, event_ids: Sequence[str]) -> int:
    """Return how many of these events of the demo are in the inbox."""
    hooks = maintenance_event_hooks.c
    query = sa.select(sa.func.count()).where(hooks.cmms_system_id == SYSTEM, hooks.dedup_key.in_(_keys(event_ids)))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def table_rows(engine: sa.Engine) -> dict[str, int]:
    """Return the rows of the operational tables."""
    return _count(engine, {table.name: table.fullname for table in COUNTED})


def mart_rows(engine: sa.Engine) -> dict[str, int]:
    """Return the rows of the marts: the tables, not the views, of schema `analytics`."""
    with engine.connect() as connection:
        names = sorted(sa.inspect(connection).get_table_names("analytics"))
    return _count(engine, {name: f'analytics."{name}"' for name in names})


def _count(engine: sa.Engine, relations: Mapping[str, str]) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            name: int(connection.execute(sa.text(f"SELECT count(*) FROM {relation}")).scalar_one())  # noqa: S608 - our own names
            for name, relation in relations.items()
        }


def _keys(event_ids: Collection[str]) -> list[str]:
    return [f"id:{event_id}" for event_id in event_ids]
