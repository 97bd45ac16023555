"""Write what events tell of failures, inspections and schedules: their tables, and the source's statements behind them.

What belongs here: loading and writing a batch of one family, each in one statement. What does not: the decisions
(`domain.told` and the families), work orders, machines and readings (their own effects).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.failures import FAILURES
from cmms_pipelines.domain.inspections import INSPECTIONS
from cmms_pipelines.domain.maintenance_payloads import FailurePayload, InspectionPayload, SchedulePayload
from cmms_pipelines.domain.schedules import SCHEDULES
from cmms_pipelines.domain.told import Change, Family, MaintenancePayload, Statement, Told, apply
from cmms_pipelines.storage.equipment_lookup import KnownEquipment
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement, Verdict, waits_for
from cmms_pipelines.storage.outcomes import describe
from cmms_pipelines.storage.snapshots import Key, Snapshot, load_snapshots, write_snapshots
from cmms_pipelines.storage.tables import failures, inspections, maintenance_schedule

_OF_THE_SOURCE = ("is_partial", "source_updated_at")
_OF_THE_MACHINE = ("equipment_id", "plant_id")
_OF_THE_ROW = ("id", "cmms_system_id", "version", "created_at", "updated_at")

# Events of one failure may have different entities in the inbox (one names its order, another its machine), so two drains may
# be at it at once.
_LOCK = sa.text("""
    SELECT pg_advisory_xact_lock(hash) FROM (
        SELECT DISTINCT hashtextextended(key, 0) AS hash FROM unnest(CAST(:keys AS text[])) AS wanted (key) ORDER BY 1
    ) AS in_order
""")


@dataclass(frozen=True)
class _Target:
    """Where a family is written: its table, and the column that holds the entity's key."""

    family: Family
    table: sa.Table
    key: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that events may change, without those of machine and source."""
        left_out = {self.key, *_OF_THE_SOURCE, *_OF_THE_MACHINE, *_OF_THE_ROW}
        return tuple(str(column.name) for column in self.table.columns if column.name not in left_out)

    def load(self) -> sa.TextClause:
        return sa.text(f"""
            SELECT cmms_system_id, {self.key} AS key, to_jsonb(found) AS stored
            FROM {self.table.fullname} AS found
            JOIN unnest(CAST(:systems AS text[]), CAST(:keys AS text[])) AS wanted (cmms_system_id, {self.key})
            USING (cmms_system_id, {self.key})
            ORDER BY cmms_system_id, {self.key}
            FOR UPDATE OF found
        """)

    def write(self) -> sa.TextClause:
        written = (*self.columns, *_OF_THE_MACHINE, *_OF_THE_SOURCE)
        return sa.text(f"""
            INSERT INTO {self.table.fullname} AS stored (cmms_system_id, {self.key}, {", ".join(written)})
            SELECT cmms_system_id, {self.key}, {", ".join(written)}
            FROM jsonb_populate_recordset(CAST(NULL AS {self.table.fullname}), CAST(:rows AS jsonb))
            ORDER BY cmms_system_id, {self.key}
            ON CONFLICT (cmms_system_id, {self.key}) DO UPDATE
            SET {", ".join(f"{column} = excluded.{column}" for column in written)},
                version = stored.version + 1, updated_at = now()
            WHERE ({", ".join(f"stored.{column}" for column in written)})
                  IS DISTINCT FROM ({", ".join(f"excluded.{column}" for column in written)})
        """)


_TARGETS: Mapping[type[MaintenancePayload], _Target] = {
    FailurePayload: _Target(FAILURES, failures, "failure_key"),
    InspectionPayload: _Target(INSPECTIONS, inspections, "inspection_key"),
    SchedulePayload: _Target(SCHEDULES, maintenance_schedule, "schedule_key"),
}


def apply_told(
    connection: sa.Connection, events: Sequence[tuple[ClaimedEvent, MaintenancePayload]], known: Mapping[str, KnownEquipment]
) -> list[Settlement]:
    """Apply events on failures, inspections and schedules, in the order given.

    An event that names an unknown machine is held until the machine exists. What the source has not changed stays as stored.
    """
    settlements: list[Settlement] = []
    by_kind: dict[type[MaintenancePayload], list[tuple[ClaimedEvent, MaintenancePayload]]] = {}
    for event, payload in events:
        number = payload.equipment_number
        if number is None or number in known:
            by_kind.setdefault(type(payload), []).append((event, payload))
        else:
            settlements.append(waits_for(event, number))
    for kind, target in _TARGETS.items():
        if kind in by_kind:
            settlements += _apply(connection, target, by_kind[kind], known)
    return settlements


def _apply(
    connection: sa.Connection,
    target: _Target,
    events: Sequence[tuple[ClaimedEvent, MaintenancePayload]],
    known: Mapping[str, KnownEquipment],
) -> list[Settlement]:
    family = target.family
    statements = [(event, _statement(event, payload)) for event, payload in events]
    keys: dict[int, Key] = {
        index: (event.cmms_system_id, family.key_of(statement)) for index, (event, statement) in enumerate(statements)
    }
    wanted = set(keys.values())
    connection.execute(_LOCK, {"keys": [f"{system} {family.entity_type}:{key}" for system, key in wanted]})
    stored = _load(connection, target, wanted)
    told = {key: _told(snapshot) for key, snapshot in load_snapshots(connection, family.entity_type, wanted).items()}
    before = {key: family.values(one) for key, one in told.items()}
    changed: set[Key] = set()
    settlements: list[Settlement] = []
    for index, (event, statement) in enumerate(statements):
        key = keys[index]
        change = apply(told.get(key), statement, family)
        told[key] = change.told
        if change.is_new_state:
            changed.add(key)
        settlements.append(_settled(event, family, key, change))
    if changed:
        rows = [
            _row(target, key, told[key], before=before.get(key, {}), stored=stored.get(key, {}), known=known)
            for key in sorted(changed)
        ]
        connection.execute(target.write(), {"rows": orjson.dumps(rows).decode()})
        write_snapshots(connection, family.entity_type, {key: _snapshot(told[key]) for key in changed})
    return settlements


def _statement(event: ClaimedEvent, payload: MaintenancePayload) -> Statement:
    has_source_time = payload.updated_at is not None or event.occurred_at is not None
    return Statement(event.event_type, payload, payload.updated_at or event.stated_at, has_source_time)


def _load(connection: sa.Connection, target: _Target, keys: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    wanted = sorted(keys)
    bound = {"systems": [key[0] for key in wanted], "keys": [key[1] for key in wanted]}
    return {(row.cmms_system_id, row.key): row.stored for row in connection.execute(target.load(), bound)}


def _row(
    target: _Target,
    key: Key,
    told: Told,
    *,
    before: Mapping[str, Any],
    stored: Mapping[str, Any],
    known: Mapping[str, KnownEquipment],
) -> dict[str, Any]:
    """Return the row as it shall be: what the source has changed is taken over, everything else stays as it is stored."""
    values = target.family.values(told)
    row: dict[str, Any] = {"cmms_system_id": key[0], target.key: key[1], **stored}
    for column in target.columns:
        if not stored or values.get(column) != before.get(column):
            row[column] = values.get(column)
    machine = known.get(str(values.get("equipment_number")))
    if machine is not None and (not stored or values.get("equipment_number") != before.get("equipment_number")):
        row["equipment_id"], row["plant_id"] = machine.id, machine.plant_id
    return row | {"is_partial": values["is_partial"], "source_updated_at": told.source_updated_at}


def _told(snapshot: Snapshot) -> Told:
    first, last = ({name: datetime.fromisoformat(at) for name, at in snapshot.extra[side].items()} for side in ("first", "last"))
    return Told(snapshot.registers, first, last, snapshot.occurred_at)


def _snapshot(told: Told) -> Snapshot:
    extra = {
        side: {name: at.isoformat() for name, at in times.items()} for side, times in (("first", told.first), ("last", told.last))
    }
    return Snapshot(told.registers, extra, told.source_updated_at)


def _settled(event: ClaimedEvent, family: Family, key: Key, change: Change) -> Settlement:
    outcome = {"entity": f"{family.entity_type}:{key[1]}", **describe(change.fields)}
    if family.values(change.told)["is_partial"]:
        outcome["is_partial"] = True
    return Settlement(event, Verdict.APPLIED if change.is_new_state else Verdict.IGNORED, outcome)
