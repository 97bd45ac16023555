"""The quarantine as operators look at it: found by what they know, shown, exported, discarded.

What belongs here: the filter and what is read or closed by it. What does not: how records get in and out by syncs
(`storage.rejections`) and how they are judged again (`sync.replay`).
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, TextIO

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.tables import audit_log, sync_rejections

STATUSES = ("open", "replayed", "discarded")
EXPORTED = (
    "id", "sync_type", "status", "rule", "severity", "message", "column_name", "value", "other_failures", "record_key",
    "plant_code", "equipment_number", "date", "times_seen", "first_seen_at", "last_seen_at", "resolved_at", "resolved_by",
    "resolution_reason", "payload",
)  # fmt: skip
_EXPORT_BATCH = 1000

_kept = sync_rejections.c


@dataclass(frozen=True)
class RejectionFilter:
    """Which records of the quarantine; what is left empty does not restrict.

    Attributes:
        status: open, replayed or discarded; None for any.
        sync_types, severities (of the first failure), plant_codes, equipment_numbers, ids: one of these.
        rules: one of these, be it the first that the record failed or another.
        first_day, last_day: business days of readings.
        seen_since, seen_until: when the record came last.
        first_seen_since, first_seen_until: when it came first.
    """

    status: str | None = "open"
    sync_types: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    plant_codes: tuple[str, ...] = ()
    equipment_numbers: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    first_day: date | None = None
    last_day: date | None = None
    seen_since: datetime | None = None
    seen_until: datetime | None = None
    first_seen_since: datetime | None = None
    first_seen_until: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing but the status restricts it."""
        return not self.described()

    def described(self) -> dict[str, Any]:
        """Return what restricts it besides the status, as JSON takes it: for logs and the audit log."""
        values = {name: value for name, value in asdict(self).items() if name != "status" and value not in (None, ())}
        return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on a row of `sync_rejections`."""
        found: list[sa.ColumnElement[bool]] = []
        if self.status is not None:
            found.append(_kept.status == self.status)
        for column, wanted in (
            (_kept.sync_type, self.sync_types),
            (_kept.severity, self.severities),
            (_kept.plant_code, self.plant_codes),
            (_kept.equipment_number, self.equipment_numbers),
            (_kept.id, self.ids),
        ):
            if wanted:
                found.append(column.in_(wanted))
        for column, since, until in (
            (_kept.date, self.first_day, self.last_day),
            (_kept.last_seen_at, self.seen_since, self.seen_until),
            (_kept.first_seen_at, self.first_seen_since, self.first_seen_until),
        ):
            found += [column >= since] if since is not None else []
            found += [column <= until] if until is not None else []
        if self.rules:
            found.append(sa.or_(*(fails(rule) for rule in self.rules)))
        return found


def fails(rule: str) -> sa.ColumnElement[bool]:
    """Return the condition for records that failed a rule, be it the first one or another."""
    return sa.or_(_kept.rule == rule, _kept.other_failures.contains([{"rule": rule}]))


def find(connection: sa.Connection, wanted: RejectionFilter, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the records with all columns, the one seen last first."""
    statement = _chosen(wanted).order_by(_kept.last_seen_at.desc(), _kept.id.desc()).limit(limit)
    return [dict(row) for row in connection.execute(statement).mappings()]


def count(connection: sa.Connection, wanted: RejectionFilter) -> int:
    """Return how many records there are."""
    return connection.scalar(sa.select(sa.func.count()).select_from(_chosen(wanted).subquery())) or 0


def show(connection: sa.Connection, rejection_id: int) -> dict[str, Any]:
    """Return a refused record with all columns.

    Raises:
        PermanentError: there is no such record.
    """
    row = connection.execute(sa.select(sync_rejections).where(_kept.id == rejection_id)).mappings().one_or_none()
    if row is None:
        raise PermanentError(f"There is no rejection {rejection_id}: `cmms rejections list` shows those that there are.")
    return dict(row)


def export_csv(connection: sa.Connection, wanted: RejectionFilter, file: TextIO) -> int:
    """Write the records with all that is known of them as CSV, `payload` being the raw record as JSON; return how many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(EXPORTED)
    written = 0
    for row in _stream(connection, _chosen(wanted).order_by(_kept.id)):
        writer.writerow([_cell(row[name]) for name in EXPORTED])
        written += 1
    return written


def discard(
    connection: sa.Connection, wanted: RejectionFilter, *, actor: str, reason: str, run_id: str | None = None
) -> list[int]:
    """Close open records for good, with who did it and why; return their ids.

    A record that comes again just as it is stays discarded; one that has changed is refused anew.

    Raises:
        PermanentError: no reason, or a filter that would take everything.
    """
    if not reason.strip():
        raise PermanentError("Say why the records are discarded: the reason is kept with them.")
    if wanted.status != "open" or wanted.is_everything:
        raise PermanentError("Say which open records to discard: by id, rule, plant, machine, day or when they were seen.")
    values = {"status": "discarded", "resolved_at": sa.func.now(), "resolved_by": actor, "resolution_reason": reason}
    statement = sa.update(sync_rejections).where(*wanted.conditions()).values(**values).returning(_kept.id)
    closed = sorted(connection.scalars(statement))
    connection.execute(
        sa.insert(audit_log).values(
            actor=actor,
            action="rejections_discarded",
            entity_type="sync_rejections",
            after={"filter": wanted.described(), "ids": closed[:1000], "records": len(closed)},
            reason=reason,
            dagster_run_id=run_id,
        )
    )
    return closed


def _chosen(wanted: RejectionFilter) -> sa.Select[Any]:
    return sa.select(sync_rejections).where(*wanted.conditions())


def _stream(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Mapping[str, Any]]:
    result = connection.execution_options(yield_per=_EXPORT_BATCH).execute(statement)
    for row in result.mappings():
        yield dict(row)


def _cell(value: object) -> object:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if isinstance(value, date) else value
