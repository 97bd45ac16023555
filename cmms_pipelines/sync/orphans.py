"""Readings that were refused because their equipment was unknown, applied once it has arrived."""

from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage.tables import equipment, sync_rejections
from cmms_pipelines.sync.plants import known_plants
from cmms_pipelines.sync.running_times import write_readings
from cmms_pipelines.sync.session import Progress, Slice, sync_session


@dataclass(frozen=True)
class _Waiting:
    """The waiting readings of one day whose equipment has arrived, with the keys under which the quarantine keeps them."""

    piece: Slice
    keys: list[str]
    records: list[dict[str, Any]]


def replay_orphans(engine: sa.Engine, *, sync_key: str, run_id: str | None, progress: Progress) -> int:
    """Apply the waiting readings whose equipment exists now; return how many left the quarantine.

    A reading that fails another rule by now stays in the quarantine, under that rule.

    Raises:
        TransientError: the database refuses for a passing reason.
    """
    days = _days_waiting(engine)
    if not days:
        return 0
    plants = known_plants(engine)
    scope = {"replay": "equipment_unknown", "from": min(days).isoformat(), "to": max(days).isoformat()}
    with sync_session(engine, "running_times", scope, sync_key=sync_key, run_id=run_id, progress=progress) as session:
        session.plan([Slice((), day) for day in days])
        for waiting in (_waiting(engine, day) for day in days):

            def apply(piece: Slice, waiting: _Waiting = waiting) -> SyncCounts:
                return write_readings(session, piece, waiting.records, plants, kept_keys=waiting.keys)

            session.run_slices([waiting.piece], apply, max_in_flight=1)
    return session.counts.stored


def _days_waiting(engine: sa.Engine) -> list[date]:
    kept = sync_rejections.c
    with engine.connect() as connection:
        return list(connection.scalars(sa.select(kept.date).where(*_IS_WAITING).distinct().order_by(kept.date)))


def _waiting(engine: sa.Engine, day: date) -> _Waiting:
    kept = sync_rejections.c
    statement = sa.select(kept.record_key, kept.plant_code, kept.payload).where(*_IS_WAITING, kept.date == day).order_by(kept.id)
    with engine.connect() as connection:
        rows = connection.execute(statement).all()
    plant_codes = tuple(sorted({str(row.plant_code) for row in rows}))
    return _Waiting(Slice(plant_codes, day), [row.record_key for row in rows], [dict(row.payload) for row in rows])


_IS_WAITING = (
    sync_rejections.c.status == "open",
    sync_rejections.c.sync_type == "running_times",
    sync_rejections.c.rule == "equipment_unknown",
    sync_rejections.c.date.is_not(None),
    sa.exists().where(equipment.c.equipment_number == sync_rejections.c.equipment_number),
)
