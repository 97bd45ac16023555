"""Rules of maintenance in `cmms.maintenance_rules`: read, written, removed by somebody who has seen a certain version, audited.

What belongs here: that. What does not: what makes a rule usable (`domain.maintenance_rules`) and what is due by them
(`dbt_models/models/marts/maintenance_due.sql`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.errors import NotFoundError, PermanentError, VersionConflictError
from cmms_pipelines.domain.maintenance_rules import MaintenanceRule
from cmms_pipelines.domain.sap_values import read_key
from cmms_pipelines.storage.tables import audit_log, equipment, equipment_groups, maintenance_rules

_LOCK = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('maintenance_rules', 0))")
_ENTITY = "maintenance_rule"
_SETTINGS = (
    "name", "task", "interval_hours", "interval_days", "tolerance_hours", "tolerance_days", "scheduling", "work_type",
    "title_contains", "baseline_hours", "baseline_on", "is_active",
)  # fmt: skip


class Change(StrEnum):
    """What writing a rule did."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class StoredRule:
    """A rule with its number here and its version."""

    id: int
    version: int
    rule: MaintenanceRule

    def as_row(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {"id": self.id, "version": self.version, **self.rule.model_dump()}


def find_rules(
    connection: sa.Connection, *, group: str | None = None, number: str | None = None, is_active: bool | None = None
) -> list[StoredRule]:
    """Return rules by name and whom they are for: all, those of a group or a machine, those that are active or not."""
    wanted = []
    if group is not None:
        wanted.append(equipment_groups.c.name == group)
    if number is not None:
        wanted.append(equipment.c.equipment_number == (read_key(number) or number))
    if is_active is not None:
        wanted.append(maintenance_rules.c.is_active == is_active)
    return _read(connection, *wanted)


def find_rule(connection: sa.Connection, rule_id: int) -> StoredRule:
    """Return a rule.

    Raises:
        NotFoundError: there is none of this number.
    """
    found = _read(connection, maintenance_rules.c.id == rule_id)
    if not found:
        raise NotFoundError(f"There is no maintenance rule {rule_id}.")
    return found[0]


def create_rule(connection: sa.Connection, rule: MaintenanceRule, *, actor: str) -> StoredRule:
    """Create a rule at version 1.

    Raises:
        VersionConflictError: there is one of this name for the same group or machine.
        PermanentError: its group or machine is not known.
    """
    connection.execute(_LOCK)
    found = _of_same_name(connection, rule)
    if found:
        raise VersionConflictError(f"{rule.name!r} exists for {rule.subject} as rule {found.id}.", found.version)
    return _insert(connection, rule, actor)


def change_rule(
    connection: sa.Connection, rule_id: int, rule: MaintenanceRule, *, expected_version: int | None, actor: str
) -> StoredRule:
    """Replace a rule; an identical write adds no version.

    Raises:
        NotFoundError: there is none of this number.
        VersionConflictError: it is at another version than `expected_version` (None takes whatever is there), or another rule has
            the new name.
        PermanentError: its group or machine is not known.
    """
    connection.execute(_LOCK)
    before = _at_version(connection, rule_id, expected_version)
    other = _of_same_name(connection, rule)
    if other and other.id != rule_id:
        raise VersionConflictError(f"{rule.name!r} exists for {rule.subject} as rule {other.id}.", other.version)
    return _update(connection, before, rule, actor)


def put_rules(connection: sa.Connection, rules: Sequence[MaintenanceRule], *, actor: str) -> list[tuple[Change, StoredRule]]:
    """Create or replace rules by their name and whom they are for; others stay. All of them or, on an error, none.

    Raises:
        PermanentError: a group or a machine is not known.
    """
    connection.execute(_LOCK)
    done = []
    for rule in rules:
        before = _of_same_name(connection, rule)
        if before is None:
            done.append((Change.CREATED, _insert(connection, rule, actor)))
            continue
        after = _update(connection, before, rule, actor)
        done.append((Change.UNCHANGED if after.version == before.version else Change.CHANGED, after))
    return done


def remove_rule(connection: sa.Connection, rule_id: int, *, expected_version: int | None, actor: str) -> StoredRule:
    """Remove a rule; the audit log keeps it as it was.

    Raises:
        NotFoundError: there is none of this number.
        VersionConflictError: it is at another version than `expected_version`; None takes whatever is there.
    """
    connection.execute(_LOCK)
    before = _at_version(connection, rule_id, expected_version)
    connection.execute(sa.delete(maintenance_rules).where(maintenance_rules.c.id == rule_id))
    _audit(connection, "maintenance_rule.removed", rule_id, actor, before=before)
    return before


def _read(connection: sa.Connection, *wanted: sa.ColumnElement[bool]) -> list[StoredRule]:
    columns = (
        maintenance_rules.c.id,
        maintenance_rules.c.version,
        *(maintenance_rules.c[name] for name in _SETTINGS),
        equipment_groups.c.name.label("equipment_group"),
        equipment.c.equipment_number,
    )
    joined = maintenance_rules.outerjoin(
        equipment_groups, equipment_groups.c.id == maintenance_rules.c.equipment_group_id
    ).outerjoin(equipment, equipment.c.id == maintenance_rules.c.equipment_id)
    query = sa.select(*columns).select_from(joined).where(*wanted)
    ordered = query.order_by(maintenance_rules.c.name, equipment_groups.c.name, equipment.c.equipment_number)
    return [
        StoredRule(
            row["id"], row["version"], MaintenanceRule(**{name: row[name] for name in row if name not in {"id", "version"}})
        )
        for row in connection.execute(ordered).mappings()
    ]


def _at_version(connection: sa.Connection, rule_id: int, expected: int | None) -> StoredRule:
    found = find_rule(connection, rule_id)
    if expected is not None and found.version != expected:
        raise VersionConflictError(f"Rule {rule_id} is at version {found.version} by now.", found.version)
    return found


def _of_same_name(connection: sa.Connection, rule: MaintenanceRule) -> StoredRule | None:
    subject = _subject_of(connection, rule)
    same = (maintenance_rules.c[column] == value for column, value in subject.items() if value is not None)
    found = _read(connection, maintenance_rules.c.name == rule.name, *same)
    return found[0] if found else None


def _subject_of(connection: sa.Connection, rule: MaintenanceRule) -> dict[str, int | None]:
    """Return the keys of the group or machine that a rule is for."""
    if rule.equipment_group is not None:
        key = connection.scalar(sa.select(equipment_groups.c.id).where(equipment_groups.c.name == rule.equipment_group))
        known = "the groups are those of CMMS_EQUIPMENT_GROUPS_FILE, once a sync of equipment has made them"
    else:
        number = read_key(rule.equipment_number) or rule.equipment_number
        key = connection.scalar(sa.select(equipment.c.id).where(equipment.c.equipment_number == number))
        known = "its sync has not brought it"
    if key is None:
        raise PermanentError(f"There is no {rule.subject} for the rule {rule.name!r}: {known}.")
    return {
        "equipment_group_id": key if rule.equipment_group is not None else None,
        "equipment_id": key if rule.equipment_group is None else None,
    }


def _values(connection: sa.Connection, rule: MaintenanceRule) -> dict[str, Any]:
    settings = rule.model_dump()
    return {**_subject_of(connection, rule), **{name: settings[name] for name in _SETTINGS}}


def _insert(connection: sa.Connection, rule: MaintenanceRule, actor: str) -> StoredRule:
    statement = sa.insert(maintenance_rules).values(_values(connection, rule)).returning(maintenance_rules.c.id)
    stored = find_rule(connection, connection.execute(statement).scalar_one())
    _audit(connection, "maintenance_rule.created", stored.id, actor, after=stored)
    return stored


def _update(connection: sa.Connection, before: StoredRule, rule: MaintenanceRule, actor: str) -> StoredRule:
    values = _values(connection, rule)
    row = connection.execute(sa.select(maintenance_rules).where(maintenance_rules.c.id == before.id)).mappings().one()
    if all(row[name] == value for name, value in values.items()):
        return before
    changed = {**values, "version": maintenance_rules.c.version + 1, "updated_at": sa.func.now()}
    connection.execute(sa.update(maintenance_rules).where(maintenance_rules.c.id == before.id).values(changed))
    after = find_rule(connection, before.id)
    _audit(connection, "maintenance_rule.changed", before.id, actor, before=before, after=after)
    return after


def _audit(
    connection: sa.Connection,
    action: str,
    rule_id: int,
    actor: str,
    *,
    before: StoredRule | None = None,
    after: StoredRule | None = None,
) -> None:
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action=action,
            entity_type=_ENTITY,
            entity_key=str(rule_id),
            before=_as_json(before) if before else None,
            after=_as_json(after) if after else None,
        )
    )


def _as_json(stored: StoredRule) -> dict[str, Any]:
    return {"version": stored.version, **stored.rule.model_dump(mode="json")}
