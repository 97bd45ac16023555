"""What two databases must have in common after the same syncs, however often one of them was disturbed.

Surrogate ids and times of writing differ; everything that a reader sees must not.
"""

from collections import Counter
from datetime import date
from typing import Any, NamedTuple

import sqlalchemy as sa

from cmms_pipelines.storage.tables import (
    api_sync_logs,
    counter_events,
    equipment,
    equipment_running_times,
    metadata,
    plants,
    sync_rejections,
    sync_slices,
)

_OF_WRITING = {"id", "created_at", "updated_at", "equipment_id", "plant_id", "equipment_group_id", "record_digest", "detected_at"}


class Arrival(NamedTuple):
    """A record of the source as the tables know it; masters have no day, and one without a plant is of the plant ""."""

    day: date | None
    plant: str
    machine: str
    is_stored: bool


def outcome(engine: sa.Engine) -> dict[str, list[Any]]:
    """Everything that syncs leave behind for readers: machines, readings, counter events and the open quarantine."""
    machine, plant = equipment.c.equipment_number.label("machine"), plants.c.plant_code.label("plant")
    of_machine = equipment.c.id
    readings, events, refused = equipment_running_times, counter_events, sync_rejections
    statements = {
        "machines": sa.select(machine, plant, *_values(equipment)).join(plants, plants.c.id == equipment.c.plant_id),
        "readings": sa.select(machine, plant, *_values(readings))
        .join(equipment, of_machine == readings.c.equipment_id)
        .join(plants, plants.c.id == readings.c.plant_id),
        "events": sa.select(machine, *_values(events)).join(equipment, of_machine == events.c.equipment_id),
        "refused": sa.select(refused.c.sync_type, refused.c.record_key, refused.c.rule, refused.c.payload).where(
            refused.c.status == "open"
        ),
    }
    with engine.connect() as connection:
        return {name: sorted(map(repr, connection.execute(statement))) for name, statement in statements.items()}


def arrivals(engine: sa.Engine, sync_type: str) -> set[Arrival]:
    """Every record of a sync that is in the tables, be it stored or in the quarantine."""
    times, refused = equipment_running_times.c, sync_rejections.c
    machine, plant = equipment.c.equipment_number, plants.c.plant_code
    masters = sa.select(sa.null(), plant, machine, sa.null()).join_from(equipment, plants, plants.c.id == equipment.c.plant_id)
    readings = (
        sa.select(times.date, plant, machine, times.readings)
        .join(equipment, equipment.c.id == times.equipment_id)
        .join(plants, plants.c.id == times.plant_id)
    )
    in_quarantine = sa.select(refused.date, sa.func.coalesce(refused.plant_code, ""), refused.equipment_number).where(
        refused.sync_type == sync_type, refused.status == "open"
    )
    with engine.connect() as connection:
        rows = connection.execute(masters if sync_type == "equipment" else readings).all()
        stored = {Arrival(day, code, number, True) for day, own, number, parts in rows for code in parts or [own]}
        return stored | {Arrival(*row, False) for row in connection.execute(in_quarantine)}


def assert_tables_are_as_the_ledger_says(engine: sa.Engine, sync_type: str, everything: set[Arrival]) -> None:
    """Of `everything` that a whole sync brings, the tables hold what is of the slices in the ledger, and nothing else.

    Ledger, tables and logs count alike, those of killed attempts too.
    """
    kept, log = sync_slices.c, api_sync_logs.c
    of_ledger = sa.select(kept.sync_log_id, kept.date, kept.plant_codes, kept.counts).where(kept.sync_type == sync_type)
    counted = [column for column in api_sync_logs.columns if column.name.startswith("records_")]
    of_logs = sa.select(log.id, log.slices_done, *counted).where(log.sync_type == sync_type)
    with engine.connect() as connection:
        slices = connection.execute(of_ledger).all()
        logs = {row["id"]: Counter(row) - Counter({"id": row["id"]}) for row in connection.execute(of_logs).mappings()}
    found = arrivals(engine, sync_type)
    done = {(piece.date, code) for piece in slices for code in piece.plant_codes}
    assert found == {arrival for arrival in everything if (arrival.day, arrival.plant) in done}
    told: dict[int, Counter[str]] = {log_id: Counter() for log_id in logs}
    for piece in slices:
        told[piece.sync_log_id] += Counter({column.name: piece.counts[column.name] for column in counted} | {"slices_done": 1})
    assert told == logs
    total = sum(told.values(), Counter())
    stored = sum(arrival.is_stored for arrival in found)
    assert (total["records_success"], total["records_failed"]) == (stored, len(found) - stored)


def assert_books_balance(engine: sa.Engine) -> None:
    """No log says `running`, every log adds up, and ledger and log tell of the same records; nobody claims anything."""
    logs, kept = api_sync_logs.c, sync_slices.c
    with engine.connect() as connection:
        rows = connection.execute(sa.select(api_sync_logs).order_by(logs.id)).mappings().all()
        ledger = sa.select(kept.sync_log_id, sa.func.sum(kept.counts["records_processed"].as_integer())).group_by(
            kept.sync_log_id
        )
        of_slices = {row[0]: row[1] for row in connection.execute(ledger)}
        claims = connection.scalar(sa.select(sa.func.count()).select_from(metadata.tables["cmms.sync_claims"]))
    assert [(row["id"], row["status"]) for row in rows if row["sync_completed_at"] is None or row["status"] == "running"] == []
    for row in rows:
        stored = sum(row[f"records_{name}"] for name in ("inserted", "updated", "unchanged", "merged"))
        assert row["records_processed"] == row["records_success"] + row["records_failed"] == stored + row["records_failed"]
        assert (row["id"], row["status"], row["records_processed"]) == (row["id"], row["status"], of_slices.get(row["id"], 0))
    assert claims == 0


def assert_every_slice_once(engine: sa.Engine, sync_key: str, slices: int, records: int) -> None:
    """All slices of a sync are in the ledger, each once, and together they hold `records`."""
    kept = sync_slices.c
    statement = sa.select(kept.slice_key, kept.counts["records_processed"].as_integer()).where(kept.sync_key == sync_key)
    with engine.connect() as connection:
        found = list(connection.execute(statement))
    assert len(found) == len({key for key, _ in found}) == slices
    assert sum(count for _, count in found) == records


def forget_running_times(engine: sa.Engine) -> None:
    """Take a database back to where plants and equipment were synced and nothing else was."""
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE cmms.equipment_running_times, cmms.counter_events, cmms.api_calls"))
        _forget_syncs(connection, "running_times")


def forget_masters(engine: sa.Engine) -> None:
    """Take a database back to where plants were synced and nothing else was."""
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE cmms.equipment, cmms.equipment_groups, cmms.api_calls CASCADE"))
        _forget_syncs(connection, "equipment")


def _forget_syncs(connection: sa.Connection, sync_type: str) -> None:
    for table in (sync_rejections, sync_slices, api_sync_logs):
        connection.execute(sa.delete(table).where(table.c.sync_type == sync_type))


def _values(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.columns if column.name not in _OF_WRITING]
