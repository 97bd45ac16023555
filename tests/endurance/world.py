"""What two databases must have in common after the same syncs, however often one of them was disturbed.

Surrogate ids and times of writing differ; everything that a reader sees must not.
"""

from typing import Any

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
        for table in (sync_rejections, sync_slices, api_sync_logs):
            connection.execute(sa.delete(table).where(table.c.sync_type == "running_times"))


def _values(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.columns if column.name not in _OF_WRITING]
