"""Open records of the quarantine in the portions in which they are judged again.

What belongs here: which records wait for something that has arrived, which ones must not be judged again, and reading them.
What does not: judging them (`sync.replay`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.storage.rejection_search import RejectionFilter, fails
from cmms_pipelines.storage.tables import equipment, equipment_running_times, plants, sync_rejections

LARGEST_PORTION = 20_000

_kept = sync_rejections.c
_PLANT = sa.func.coalesce(_kept.plant_code, "")


@dataclass(frozen=True)
class Portion:
    """Records that are judged and written together: of some plants, and of one day where they are readings."""

    plant_codes: tuple[str, ...]
    day: date | None


@dataclass(frozen=True)
class Spoken:
    """How records were written by the source that sent them; None: not known."""

    dialect: str | None
    has_decimal_comma: bool | None


@dataclass(frozen=True)
class WaitingRecords:
    """Raw records, with the keys under which the quarantine keeps them."""

    keys: list[str]
    payloads: list[dict[str, Any]]


def chosen(wanted: RejectionFilter) -> sa.ColumnElement[bool]:
    """Return the condition for what an operator has chosen."""
    return sa.and_(*wanted.conditions())


def has_arrived() -> sa.ColumnElement[bool]:
    """Return the condition for records that wait for a plant or a machine that is there now."""
    has_plant = sa.exists().where(plants.c.plant_code == _kept.plant_code)
    has_machine = sa.exists().where(equipment.c.equipment_number == _kept.equipment_number)
    return sa.or_(
        sa.and_(fails("plant_unknown"), has_plant),
        sa.and_(fails("equipment_unknown"), has_machine),
    )


def dialects(connection: sa.Connection, sync_type: str, condition: sa.ColumnElement[bool]) -> list[Spoken]:
    """Return the dialects in which the records to be judged came."""
    statement = sa.select(_kept.dialect, _kept.has_decimal_comma).where(*_to_judge(sync_type, condition)).distinct()
    rows = connection.execute(statement.order_by(_kept.dialect, _kept.has_decimal_comma))
    return [Spoken(row.dialect, row.has_decimal_comma) for row in rows]


def came_in(spoken: Spoken) -> sa.ColumnElement[bool]:
    """Return the condition for records of one dialect."""
    return sa.and_(
        _kept.dialect.is_not_distinct_from(spoken.dialect),
        _kept.has_decimal_comma.is_not_distinct_from(spoken.has_decimal_comma),
    )


def portions(connection: sa.Connection, sync_type: str, condition: sa.ColumnElement[bool]) -> list[Portion]:
    """Cut the open records of a sync into portions, by day and then by plants; none is larger than it must be."""
    statement = (
        sa.select(_kept.date, _PLANT, sa.func.count())
        .where(*_to_judge(sync_type, condition))
        .group_by(_kept.date, _PLANT)
        .order_by(_kept.date.nulls_first(), _PLANT)
    )
    rows = connection.execute(statement).all()
    return [
        Portion(tuple(codes), day)
        for day, of_day in groupby(rows, key=lambda row: row[0])
        for codes in _packed([(str(row[1]), int(row[2])) for row in of_day])
    ]


def read(connection: sa.Connection, sync_type: str, condition: sa.ColumnElement[bool], portion: Portion) -> WaitingRecords:
    """Return the records of a portion, in the order in which they came."""
    statement = (
        sa.select(_kept.record_key, _kept.payload)
        .where(*_to_judge(sync_type, condition), _kept.date.is_not_distinct_from(portion.day), _PLANT.in_(portion.plant_codes))
        .order_by(_kept.id)
    )
    rows = connection.execute(statement).all()
    return WaitingRecords([row.record_key for row in rows], [dict(row.payload) for row in rows])


def count_overtaken(connection: sa.Connection, sync_type: str, condition: sa.ColumnElement[bool]) -> int:
    """Return how many records are left alone, since newer ones have been stored in their place."""
    statement = sa.select(sa.func.count()).where(*_open(sync_type), condition, _is_overtaken(sync_type))
    return connection.scalar(statement) or 0


def _to_judge(sync_type: str, condition: sa.ColumnElement[bool]) -> Sequence[sa.ColumnElement[bool]]:
    return (*_open(sync_type), condition, ~_is_overtaken(sync_type))


def _open(sync_type: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (_kept.status == "open", _kept.sync_type == sync_type)


def _is_overtaken(sync_type: str) -> sa.ColumnElement[bool]:
    """Return the condition for records in whose place something else is stored: putting them there would lose it.

    A master that has changed since; a reading whose plant has another one of this machine and day in the table (its part of
    the day would be replaced, not added to: only that day's own sync has all parts). A part without hours does not count:
    it may be the counter of this very record.
    """
    machine = equipment.c.equipment_number == _kept.equipment_number
    if sync_type == "equipment":
        return sa.exists().where(machine, equipment.c.updated_at > _kept.last_seen_at)
    if sync_type == "running_times":
        times = equipment_running_times.c
        is_only_part = sa.and_(times.readings.is_(None), times.plant_id == plants.c.id, times.running_hours.is_not(None))
        has_part = times.readings[_kept.plant_code]["running_hours"].as_float().is_not(None)
        return sa.exists().where(
            machine,
            times.equipment_id == equipment.c.id,
            times.date == _kept.date,
            plants.c.plant_code == _kept.plant_code,
            sa.or_(is_only_part, has_part),
        )
    return sa.false()


def _packed(counted: Sequence[tuple[str, int]]) -> Iterator[list[str]]:
    codes: list[str] = []
    size = 0
    for code, records in counted:
        if codes and size + records > LARGEST_PORTION:
            yield codes
            codes, size = [], 0
        codes.append(code)
        size += records
    if codes:
        yield codes
