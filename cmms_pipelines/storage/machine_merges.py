"""Machines of which more than the master record speaks: everything that is said of them, merged and written.

What belongs here: loading a machine's sides, writing what a merge left, and keeping the nightly sync from overwriting others.
What does not: the merge (`domain.claimed_machines`), plain asset events (`storage.asset_effects`), plain masters
(`storage.equipment`).
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa
from pydantic import JsonValue

from cmms_pipelines.domain.assets import ATTRIBUTE
from cmms_pipelines.domain.claimed_machines import (
    EXTERNAL_API,
    Claim,
    ClaimedMachine,
    Judged,
    merge_claims,
    merge_master,
)
from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.local_edits import EQUIPMENT, LocalEdit, Settled, Waiting
from cmms_pipelines.storage import conflict_records
from cmms_pipelines.storage.local_edits import ANY_SYSTEM, change_edits, load_edits
from cmms_pipelines.storage.snapshots import Key, Snapshot, load_all_snapshots, write_snapshots
from cmms_pipelines.storage.tables import equipment, source_snapshots

MASTER_FIELDS = ("equipment_description", "object_number", "point", "company_code", "is_active")
_EQUIPMENT = equipment.fullname
_SNAPSHOTS = source_snapshots.fullname

_LOCK = sa.text(f"""
    SELECT equipment_number, id, {", ".join(MASTER_FIELDS)}, attributes
    FROM {_EQUIPMENT}
    WHERE equipment_number = ANY(CAST(:numbers AS text[])) ORDER BY equipment_number FOR NO KEY UPDATE
""")

_REMEMBER_MASTERS = sa.text(f"""
    INSERT INTO {_SNAPSHOTS} (cmms_system_id, entity_type, entity_key, snapshot, occurred_at)
    SELECT :external_api, :entity_type, equipment_number,
           jsonb_build_object('extra', jsonb_build_object(), 'fields',
               jsonb_build_object({", ".join(f"'{name}', {name}" for name in MASTER_FIELDS)})
               || coalesce((SELECT jsonb_object_agg('{ATTRIBUTE}' || key, value) FROM jsonb_each(attributes)), '{{}}')
           ), NULL
    FROM {_EQUIPMENT}
    WHERE equipment_number = ANY(CAST(:numbers AS text[])) ORDER BY equipment_number
    ON CONFLICT (cmms_system_id, entity_type, entity_key) DO NOTHING
""")

_UPDATE = sa.text(f"""
    UPDATE {_EQUIPMENT} AS machine
    SET {
    ", ".join(
        f"{name} = CASE WHEN fields ? '{name}' THEN {value} ELSE machine.{name} END"
        for name, value in ((one, f"(fields ->> '{one}')" + ("::boolean" if one == "is_active" else "")) for one in MASTER_FIELDS)
    )
},
        attributes = (machine.attributes || changed.attributes) - ARRAY(SELECT jsonb_array_elements_text(changed.removed)),
        version = machine.version + 1, updated_at = now()
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS changed (id bigint, fields jsonb, attributes jsonb, removed jsonb)
    WHERE machine.id = changed.id
""")

_STAGED = sa.text(f"""
    SELECT new.equipment_number, to_jsonb(new) AS staged, now() AS now
    FROM staged_equipment AS new
    JOIN {_SNAPSHOTS} AS master ON master.entity_type = 'equipment' AND master.cmms_system_id = '{EXTERNAL_API}'
         AND master.entity_key = new.equipment_number
    JOIN {_EQUIPMENT} AS stored ON stored.equipment_number = new.equipment_number
    WHERE NOT (stored.plant_id <> new.plant_id AND COALESCE(new.api_created_at < stored.api_created_at, false))
""")

_RESTAGE = sa.text(f"""
    UPDATE staged_equipment AS new
    SET {", ".join(f"{name} = merged.{name}" for name in MASTER_FIELDS)}, attributes = merged.attributes
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS merged (
        equipment_number text, equipment_description text, object_number text, point text, company_code text, is_active boolean,
        attributes jsonb
    )
    WHERE new.equipment_number = merged.equipment_number
""")


@dataclass
class Machines:
    """The machines of a batch, locked, with everything that is said of them."""

    ids: Mapping[str, int]
    rows: Mapping[str, dict[str, JsonValue]]
    snapshots: dict[Key, Snapshot]
    edits: Mapping[str, Mapping[str, LocalEdit]]
    waiting: Mapping[Key, Mapping[str, Waiting]]
    hooks: dict[Key, uuid.UUID] = field(default_factory=dict)
    received_at: dict[Key, datetime] = field(default_factory=dict)

    def contested(self, numbers: Iterable[str]) -> set[str]:
        """Return those of which more than one system's events, or an edit, speak, or about which a conflict waits."""
        systems = Counter(number for system, number in self.snapshots if system != EXTERNAL_API)
        waiting = {number for _, number in self.waiting}
        return {number for number in numbers if systems[number] > 1 or number in self.edits or number in waiting}

    def claimed(self, numbers: Iterable[str]) -> list[ClaimedMachine]:
        """Return machines as a merge takes them, by number."""
        claims: dict[str, dict[str, Claim]] = {}
        for (system, number), snapshot in self.snapshots.items():
            received_at = self.received_at.get((system, number))
            claim = Claim(snapshot.registers.copy(), _claimed_at(snapshot), dict(snapshot.agreed), received_at)
            claims.setdefault(number, {})[system] = claim
        waiting: dict[str, dict[str, Mapping[str, Waiting]]] = {}
        for (system, number), fields in self.waiting.items():
            waiting.setdefault(number, {})[system] = fields
        return [
            ClaimedMachine(
                number, dict(self.rows[number]), dict(self.edits.get(number, {})), claims.get(number, {}), waiting.get(number, {})
            )
            for number in sorted(numbers)
        ]


def load_machines(connection: sa.Connection, numbers: Iterable[str]) -> Machines:
    """Return the machines that exist, locked until the transaction ends."""
    wanted = sorted(set(numbers))
    found = {row["equipment_number"]: row for row in connection.execute(_LOCK, {"numbers": wanted}).mappings()}
    edits = load_edits(connection, EQUIPMENT, [(ANY_SYSTEM, number) for number in found])
    return Machines(
        ids={number: row["id"] for number, row in found.items()},
        rows={number: fields_of(dict(row)) for number, row in found.items()},
        snapshots=load_all_snapshots(connection, EQUIPMENT, found),
        edits={key[1]: changed for key, changed in edits.items()},
        waiting=conflict_records.waiting_conflicts(connection, EQUIPMENT, found),
    )


def fields_of(row: Mapping[str, Any]) -> dict[str, JsonValue]:
    """Return what a row of `cmms.equipment` says as fields of a machine, each attribute as one of its own."""
    attributes = {f"{ATTRIBUTE}{key}": value for key, value in (row["attributes"] or {}).items()}
    return {**{name: row[name] for name in MASTER_FIELDS}, **attributes}


def remember_masters(connection: sa.Connection, machines: Machines, numbers: Iterable[str]) -> None:
    """Keep what the external API has stated of machines before somebody else changes them: the base of every later merge."""
    missing = sorted(number for number in numbers if (EXTERNAL_API, number) not in machines.snapshots)
    if missing:
        bound = {"external_api": EXTERNAL_API, "entity_type": EQUIPMENT, "numbers": missing}
        connection.execute(_REMEMBER_MASTERS, bound)


def judge_machines(connection: sa.Connection, machines: Machines, numbers: Iterable[str]) -> dict[Key, Settled]:
    """Merge machines with all that is said of them, and write what comes of it; return that by system and machine."""
    configured = conflict_records.policies(connection)
    patches: dict[int, dict[str, JsonValue]] = {}
    merged: dict[Key, Settled] = {}
    worked: list[tuple[ClaimedMachine, Sequence[Judged]]] = []
    for machine in machines.claimed(numbers):
        number = machine.equipment_number
        judged = merge_claims(machine, lambda system: conflict_records.policy_of(configured, system))
        before = machines.rows[number]
        changed = {name: value for name, value in machine.values.items() if before.get(name) != value}
        if changed:
            patches[machines.ids[number]] = changed
        merged |= {(one.system, number): one.settled for one in judged}
        worked.append((machine, judged))
    _keep(connection, machines, worked)
    update_machines(connection, patches)
    return merged


def update_machines(connection: sa.Connection, patches: Mapping[int, Mapping[str, JsonValue]]) -> None:
    """Change fields of machines, by id; an attribute that becomes None is removed."""
    rows = [_patch(identifier, patch) for identifier, patch in sorted(patches.items()) if patch]
    if rows:
        connection.execute(_UPDATE, {"rows": orjson.dumps(rows).decode()})


def keep_what_others_said(connection: sa.Connection, cmms_system_id: str) -> None:
    """Before masters are written: merge those of machines that were edited here or that events have changed.

    Rewrites rows of the temporary table `staged_equipment`, so that what is written is the merge. `cmms_system_id` is the system
    that the external API belongs to. A machine of which the external API alone speaks costs nothing.
    """
    staged = {row.equipment_number: row for row in connection.execute(_STAGED)}
    if not staged:
        return
    machines = load_machines(connection, staged)
    configured: Mapping[str, ConflictPolicy] = conflict_records.policies(connection)
    merged: list[dict[str, Any]] = []
    worked: list[tuple[ClaimedMachine, Sequence[Judged]]] = []
    for machine in machines.claimed(staged):
        number = machine.equipment_number
        row = staged[number]
        judged = merge_master(
            machine, fields_of(row.staged), cmms_system_id, row.now, lambda system: conflict_records.policy_of(configured, system)
        )
        worked.append((machine, [judged]))
        patch = _patch(machines.ids[number], machine.values)
        merged.append({"equipment_number": number, **patch["fields"], "attributes": patch["attributes"]})
    _keep(connection, machines, worked)
    connection.execute(_RESTAGE, {"rows": orjson.dumps(merged).decode()})


def _claimed_at(snapshot: Snapshot) -> datetime | None:
    at = snapshot.extra.get("claimed_at")
    return datetime.fromisoformat(at) if at else None


def _keep(connection: sa.Connection, machines: Machines, judged: Sequence[tuple[ClaimedMachine, Sequence[Judged]]]) -> None:
    """Write what merges left beside the rows: conflicts, edits and what was agreed."""
    outcomes = [
        conflict_records.Outcome(
            one.system,
            machine.equipment_number,
            one.settled,
            one.edits,
            one.agreed,
            one.stated_at,
            machines.hooks.get((one.system, machine.equipment_number)),
        )
        for machine, found in judged
        for one in found
    ]
    conflict_records.record(connection, EQUIPMENT, outcomes)
    numbers = [machine.equipment_number for machine, _ in judged]
    before = {(ANY_SYSTEM, number): machines.edits.get(number, {}) for number in numbers}
    change_edits(connection, EQUIPMENT, before, {(ANY_SYSTEM, machine.equipment_number): machine.edits for machine, _ in judged})
    kept: dict[Key, Snapshot] = {}
    for machine, _ in judged:
        for system, claim in machine.claims.items():
            key = system, machine.equipment_number
            known = machines.snapshots.get(key, Snapshot(claim.registers, {}, None))
            kept[key] = Snapshot(claim.registers, known.extra, known.occurred_at, claim.agreed)
    if kept:
        write_snapshots(connection, EQUIPMENT, kept)


def _patch(identifier: int, patch: Mapping[str, JsonValue]) -> dict[str, Any]:
    attributes = {name.removeprefix(ATTRIBUTE): value for name, value in patch.items() if name.startswith(ATTRIBUTE)}
    return {
        "id": identifier,
        "fields": {name: value for name, value in patch.items() if not name.startswith(ATTRIBUTE)},
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "removed": [name for name, value in attributes.items() if value is None],
    }
