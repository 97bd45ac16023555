"""The rows that the marts are computed from, made from a seed: gaps, null hours, null counters, several plants and days."""

import random
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage import tables
from tests.reporting import border_rows

AS_OF = datetime(2026, 3, 10, 5, 0, tzinfo=UTC)
TODAY = {
    "HNL": date(2026, 3, 9),
    "UTC": date(2026, 3, 10),
    "AKL": date(2026, 3, 10),
    "LAX": date(2026, 3, 9),
}  # in Honolulu it is still the day before
Row = dict[str, Any]


@dataclass(frozen=True)
class KnownRows:
    """The rows of each table, ids included."""

    plants: list[Row]
    equipment_groups: list[Row]
    equipment: list[Row]
    equipment_running_times: list[Row]
    counter_events: list[Row]
    maintenance_rules: list[Row]
    work_orders: list[Row]
    maintenance_schedule: list[Row]
    failures: list[Row]
    api_sync_logs: list[Row]
    sync_rejections: list[Row]
    api_calls: list[Row]
    maintenance_event_hooks: list[Row]
    delivery_counts: list[Row]
    audit_log: list[Row]
    sync_conflicts: list[Row]


def make_rows() -> KnownRows:
    """Return the same rows each time."""
    dice = random.Random(20260310)  # noqa: S311 - a seed, not a secret
    zones = {"HNL": "Pacific/Honolulu", "UTC": "UTC", "AKL": "Pacific/Auckland", "LAX": "America/Los_Angeles"}
    plants = [
        {"id": number, "plant_code": code, "name": f"Plant {code}", "time_zone": zone}
        for number, (code, zone) in enumerate(zones.items(), start=1)
    ]
    groups = [{"id": 1, "name": "pumps"}, {"id": 2, "name": "fans"}]
    equipment = [
        {
            "id": number,
            "equipment_number": f"EQ-{number:03}",
            "equipment_description": f"Machine {number}",
            "plant_id": dice.randint(1, 4),
            "equipment_group_id": dice.choice([1, 2, None]),
            "is_active": dice.random() < 0.9,
            "created_at": AS_OF - timedelta(days=dice.choice([1, 6, 8, 90]), hours=3),
        }
        for number in range(1, 41)
    ]
    more = random.Random(20260311)  # noqa: S311 - a seed, not a secret
    logs = [_log(dice, number) for number in range(1, 16)] + _failed_logs()
    return KnownRows(
        plants=plants,
        equipment_groups=groups,
        equipment=equipment + border_rows.machines(AS_OF - timedelta(days=90)),
        equipment_running_times=[
            *(reading for machine in equipment[:35] for reading in _readings(dice, machine)),
            *border_rows.readings(),
        ],
        counter_events=border_rows.counter_events(),
        maintenance_rules=_rules() + border_rows.rules(),
        work_orders=[_work_order(dice, more, number) for number in range(1, 161)] + border_rows.work_orders(),
        maintenance_schedule=[_planned(more, number) for number in range(1, 41)],
        failures=[
            *(_failure(more, number) for number in range(1, 61)),
            _failure(more, 61) | {"equipment_id": border_rows.FIRST_ID},
        ],
        api_sync_logs=logs,
        sync_rejections=[_rejection(dice, number) for number in range(1, 61)],
        api_calls=[call for log in logs[:12] for call in _calls(dice, log)] + [_call(dice, None)],
        maintenance_event_hooks=[_hook(dice, number) for number in range(1, 201)],
        delivery_counts=_delivery_counts(dice),
        audit_log=[_refusal(dice) for _ in range(40)],
        sync_conflicts=[_conflict(dice, number) for number in range(1, 121)],
    )


def store(engine: sa.Engine, rows: KnownRows) -> None:
    """Insert the rows, into partitions made for them."""
    with engine.begin() as connection:
        for first, after in (("2026-01-01", "2026-02-01"), ("2026-02-01", "2026-03-01"), ("2026-03-01", "2026-04-01")):
            connection.exec_driver_sql(
                f"CREATE TABLE cmms.running_times_of_{first[:7].replace('-', '_')} PARTITION OF cmms.equipment_running_times"
                f" FOR VALUES FROM ('{first}') TO ('{after}')"
            )
        for name, values in vars(rows).items():
            connection.execute(sa.insert(tables.metadata.tables[f"cmms.{name}"]), values)


def _readings(dice: random.Random, machine: Row) -> list[Row]:
    counter = Decimal(dice.randint(0, 5000))
    readings = []
    for days_ago in range(50, -3, -1):  # two days ahead of the present: a source's clock may be wrong
        if dice.random() < 0.3 or (machine["id"] % 5 == 0 and days_ago < 20):
            continue
        hours = Decimal(dice.randint(0, 240000)) / 10000
        counter += hours
        went_back = dice.random() < 0.05
        readings.append(
            {
                "equipment_id": machine["id"],
                "plant_id": machine["plant_id"],
                "date": date(2026, 3, 10) - timedelta(days=days_ago),
                "running_hours": None if went_back else hours,
                "cumulative_hours": counter if went_back or dice.random() < 0.8 else None,
                "days_covered": dice.choice([1, 1, 1, 2]),
            }
        )
    return readings


def _rules() -> list[Row]:
    """Return rules of both groups and of single machines: over those of their group, of another kind of work, inactive."""
    plain: Row = {
        "equipment_group_id": None, "equipment_id": None, "interval_hours": None, "interval_days": None, "tolerance_hours": 0,
        "tolerance_days": 0, "scheduling": "floating", "work_type": None, "title_contains": None, "baseline_hours": None,
        "baseline_on": None, "is_active": True,
    }  # fmt: skip
    return [
        plain | {"name": "oil", "equipment_group_id": 1, "interval_hours": 200, "tolerance_hours": 20, "work_type": "PREVENTIVE"},
        plain | {"name": "oil", "equipment_id": 1, "interval_hours": 100},
        plain | {"name": "oil", "equipment_id": 2, "interval_hours": 1, "is_active": False},
        plain | {"name": "belt", "equipment_group_id": 2, "interval_hours": 150, "interval_days": 30, "title_contains": "BELT"},
        plain | {"name": "grid", "equipment_group_id": 1, "interval_hours": 90, "tolerance_hours": 15, "scheduling": "fixed"},
        plain | {"name": "days", "equipment_group_id": 2, "interval_days": 20, "tolerance_days": 5, "scheduling": "fixed"},
        plain | {"name": "off", "equipment_group_id": 2, "interval_days": 20, "is_active": False},
    ]


def _planned(more: random.Random, number: int) -> Row:
    status = more.choice(["completed", "completed", "scheduled", "cancelled"])
    return {
        "cmms_system_id": "cmms-1",
        "schedule_key": f"plan-{number}",
        "item_number": more.choice([None, f"item-{number}"]),
        "task": more.choice(["Change the belt", "Look at it", None]),
        "status": status,
        "equipment_id": more.choice([None, *range(1, 41)]),
        "completed_at": AS_OF - timedelta(minutes=more.randint(-3000, 70_000)) if status == "completed" else None,
    }


def _failure(more: random.Random, number: int) -> Row:
    failed = AS_OF - timedelta(minutes=more.choice([more.randint(1, 70_000), more.randint(1, 800_000)]))
    is_repaired = more.random() < 0.7
    return {
        "cmms_system_id": "cmms-1",
        "failure_key": f"failure-{number}",
        "status": "repaired" if is_repaired else "open",
        "equipment_id": more.choice([None, *range(1, 25)]),
        "failed_at": failed if more.random() < 0.8 else None,
        "detected_at": failed + timedelta(minutes=90) if more.random() < 0.8 else None,
        "repaired_at": failed + timedelta(minutes=more.randint(60, 9000)) if is_repaired else None,
    }


def _work_order(dice: random.Random, more: random.Random, number: int) -> Row:
    statuses = ["requested", "open", "scheduled", "in_progress", "on_hold", "completed", "closed", "cancelled"]
    machine = dice.choice([None, *range(1, 41)])
    status = dice.choice(statuses)
    done = AS_OF - timedelta(minutes=more.randint(-3000, 60_000)) if status in {"completed", "closed"} else None
    return {
        "cmms_system_id": "cmms-1",
        "work_order_number": f"WO-{number}",
        "status": status,
        "equipment_id": machine,
        "title": more.choice(["Replace belt", "Oil analysis", None]),
        "work_type": more.choice(["preventive", "corrective", None]),
        "completed_at": done if more.random() < 0.8 else None,
        "closed_at": done if status == "closed" else None,
    }


def _log(dice: random.Random, number: int) -> Row:
    status = dice.choice(["success", "partial", "failed", "cancelled", "running"]) if number < 15 else "running"
    inserted, updated, unchanged, merged, failed = (dice.randint(0, 900) for _ in range(5)) if number % 5 else (0, 0, 0, 0, 0)
    success = inserted + updated + unchanged + merged
    started = AS_OF - timedelta(days=dice.randint(0, 10), minutes=dice.randint(5, 1439))
    return {
        "id": number,
        "sync_type": dice.choice(tables.SYNC_TYPES[:3]),
        "status": status,
        "scope": dice.choice([{"plants": "all"}, {"plants": ["UTC", "LAX"]}, {"plants": ["HNL"], "equipment": ["EQ-001"]}]),
        "stage_seconds": dice.choice([{}, {"fetch": 1.5, "copy": 0.25, "merge": 0.5, "quarantine": 0.125, "total": 3.0}]),
        "records_processed": success + failed,
        "records_success": success,
        "records_failed": failed,
        "records_inserted": inserted,
        "records_updated": updated,
        "records_unchanged": unchanged,
        "records_merged": merged,
        "sync_started_at": started,
        "sync_completed_at": None if status == "running" else started + timedelta(milliseconds=dice.randint(50, 90_000)),
        "created_at": started,
        "dagster_run_id": f"run-{number}",
    }


def _failed_logs() -> list[Row]:
    """Return the newest syncs: one of two plants that failed, and one of a single machine, which says nothing of its plant."""
    plain = _log(random.Random(1), 5) | {"status": "failed", "stage_seconds": {}}  # noqa: S311 - a seed, not a secret
    scopes = {
        16: ("equipment", {"plants": ["LAX", "AKL"]}, 2),
        17: ("running_times", {"plants": ["HNL"], "equipment": ["EQ-001"]}, 1),
    }
    return [
        plain
        | {
            "id": number,
            "sync_type": sync_type,
            "scope": scope,
            "sync_started_at": AS_OF - timedelta(minutes=minutes_ago),
            "sync_completed_at": AS_OF - timedelta(seconds=30),
            "dagster_run_id": f"run-{number}",
        }
        for number, (sync_type, scope, minutes_ago) in scopes.items()
    ]


def _rejection(dice: random.Random, number: int) -> Row:
    status = dice.choice(["open", "open", "replayed", "discarded"])
    return {
        "sync_type": "running_times",
        "record_key": f"record-{number}",
        "rule": dice.choice(["running_hours_exceed_day", "equipment_unknown", "date_missing", "point_too_long"]),
        "plant_code": dice.choice(["HNL", "UTC", None]),
        "first_seen_at": AS_OF - timedelta(hours=dice.randint(1, 60)),
        "other_failures": dice.choice([None, None, [_broken_rule(dice)], [_broken_rule(dice), _broken_rule(dice)]]),
        "severity": dice.choice(tables.SEVERITIES),
        "message": "More hours than the day has.",
        "payload": {"EQUNR": number},
        "equipment_number": dice.choice([None, "EQ-999", *[f"EQ-{machine:03}" for machine in range(1, 21)]]),
        "status": status,
        "resolved_at": None if status == "open" else AS_OF,
    }


def _broken_rule(dice: random.Random) -> Row:
    rule, severity = dice.choice(["object_number_too_long", "api_created_at_missing"]), dice.choice(tables.SEVERITIES)
    return {"rule": rule, "severity": severity, "column_name": "point", "value": None, "message": "Too long."}


def _calls(dice: random.Random, log: Row) -> list[Row]:
    return [_call(dice, log["id"]) for _ in range(dice.randint(0, 30))]


def _call(dice: random.Random, sync_log_id: int | None) -> Row:
    status = dice.choice([200, 200, 200, 200, 503, None])
    return {
        "sync_log_id": sync_log_id,
        "endpoint": dice.choice(["/equipments", "/equipments/jam-jalan"]),
        "method": "GET",
        "status": status,
        "attempts": dice.randint(1, 4),
        "duration_ms": dice.uniform(3, 4000),
        "bytes_received": dice.randint(0, 10**9),
        "rows": dice.randint(0, 5000),
        "error": None if status == 200 else "no answer",
        "started_at": AS_OF - timedelta(hours=dice.randint(0, 40)),
    }


def _hook(dice: random.Random, number: int) -> Row:
    status = dice.choice(["processed", "processed", "processed", *tables.HOOK_STATUSES])
    received = AS_OF - timedelta(minutes=dice.randint(1, 4000))
    replayed = received + timedelta(minutes=7) if dice.random() < 0.2 else None
    is_open = status in {"pending", "held"}
    return {
        "cmms_system_id": dice.choice(["cmms-1", "cmms-2"]),
        "event_type": dice.choice(["work_order_updated", "asset_updated"]),
        "event_payload": {},
        "hmac_signature": "",
        "processing_status": status,
        "created_at": received,
        "processed_at": None if is_open else (replayed or received) + timedelta(milliseconds=dice.randint(20, 9000)),
        "outcome": {"rule": dice.choice(["retries_exhausted", "invalid_payload"])} if status == "dead_letter" else None,
        "retry_count": 0,
        "retries_total": dice.choice([0, 0, 0, 1, 3]),
        "replays": 1 if replayed else 0,
        "replayed_at": replayed,
        "raw_body": b"{}",
        "body_sha256": bytes(32),
        "dedup_key": f"id:{number}",
        "entity_key": f"work_order:{number % 17}",
    }


def _delivery_counts(dice: random.Random) -> list[Row]:
    minutes = [(AS_OF - timedelta(minutes=60 * step)).replace(second=0) for step in range(100)]
    return [
        {
            "minute": minute,
            "cmms_system_id": "cmms-1",
            "event_type": dice.choice(["work_order_updated", "asset_deleted"]),
            "outcome": dice.choice(["accepted", "duplicate", "quarantined"]),
            "deliveries": dice.randint(1, 40),
        }
        for minute in minutes
    ]


def _refusal(dice: random.Random) -> Row:
    return {
        "at": AS_OF - timedelta(minutes=dice.randint(1, 4000)),
        "actor": "webhook receiver",
        "action": dice.choice(["hook.refused", "hook.refused", "hook.refused", "event.replayed"]),
        "entity_key": dice.choice(["cmms-1", "cmms-2", None]),
        "after": {"count": dice.randint(1, 9)},
        "reason": dice.choice(["wrong_signature", "unknown_source", "expired", "overloaded", "database_unavailable"]),
    }


def _conflict(dice: random.Random, number: int) -> Row:
    opened = AS_OF - timedelta(minutes=dice.randint(1, 20_000))
    status = dice.choice(["open", "resolved", "resolved", "converged", "undone"])
    is_automatic = status in {"resolved", "undone"} and dice.random() < 0.5
    is_over = status != "open"
    return {
        "cmms_system_id": "cmms-1",
        "entity_type": "work_order",
        "entity_key": str(number),
        "field": dice.choice(["title", "priority"]),
        "rule": dice.choice(["9_undecided", "6_authority"]),
        "reason": "both changed it",
        "status": status,
        "decision": dice.choice(["ours", "theirs", "merged", "by_hand"]) if status in {"resolved", "undone"} else None,
        "is_automatic": is_automatic,
        "created_at": opened,
        "resolved_at": opened + timedelta(seconds=0 if is_automatic else dice.randint(1, 90_000)) if is_over else None,
    }
