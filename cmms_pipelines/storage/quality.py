"""Questions that checks and asset pages ask of the tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date

import sqlalchemy as sa

from cmms_pipelines.storage.tables import (
    api_sync_logs,
    counter_events,
    counter_facts,
    equipment,
    equipment_running_times,
    plants,
    sync_rejections,
    sync_slices,
)

_LOOK_BACK_DAYS = 35


@dataclass(frozen=True)
class Accounts:
    """The books of one run's sync, from three places that were written independently of one another."""

    received: int
    stored: int
    refused: int
    received_by_slices: int
    quarantined: int

    @property
    def is_balanced(self) -> bool:
        """Whether no record is missing: not between source and table, not between log and ledger, not from the quarantine."""
        is_complete = self.received == self.stored + self.refused == self.received_by_slices
        return is_complete and self.quarantined == self.refused

    def figures(self) -> dict[str, int]:
        """Return the figures by name."""
        return asdict(self)


def accounts_of_run(engine: sa.Engine, sync_type: str, run_id: str) -> Accounts:
    """Return the books of a run's newest sync of a type; replays of the quarantine have books of their own."""
    logs, slices, kept = api_sync_logs.c, sync_slices.c, sync_rejections.c
    of_run = (logs.dagster_run_id == run_id, logs.sync_type == sync_type, ~logs.scope.has_key("replay"))
    newest = sa.select(sa.func.max(logs.id)).where(*of_run).scalar_subquery()
    with engine.connect() as connection:
        columns = (logs.records_processed, logs.records_success, logs.records_failed)
        row = connection.execute(sa.select(*columns).where(logs.id == newest)).one_or_none()
        in_slices = sa.func.coalesce(sa.func.sum(slices.counts["records_processed"].as_integer()), 0)
        received = connection.scalar(sa.select(in_slices).where(slices.sync_log_id == newest))
        quarantined = sa.select(sa.func.count()).where(kept.sync_log_id == newest, kept.sync_type == sync_type)
        refused = connection.scalar(quarantined)
    processed, success, failed = (int(count) for count in row or (0, 0, 0))
    return Accounts(processed, success, failed, int(received or 0), int(refused or 0))


def equipment_per_plant(engine: sa.Engine) -> dict[str, int]:
    """Return how many machines each plant has, by plant code."""
    statement = (
        sa.select(plants.c.plant_code, sa.func.count())
        .join(equipment, equipment.c.plant_id == plants.c.id)
        .group_by(plants.c.plant_code)
    )
    with engine.connect() as connection:
        return {str(row[0]): int(row[1]) for row in connection.execute(statement)}


def plants_without_equipment(engine: sa.Engine) -> list[str]:
    """Return the codes of active plants that have no machine."""
    has_any = sa.exists().where(equipment.c.plant_id == plants.c.id)
    statement = sa.select(plants.c.plant_code).where(plants.c.is_active, ~has_any).order_by(plants.c.plant_code)
    with engine.connect() as connection:
        return list(connection.scalars(statement))


def readings_per_day(engine: sa.Engine, days: Sequence[date]) -> dict[date, int]:
    """Return how many machines have a reading, by day."""
    table = equipment_running_times.c
    statement = sa.select(table.date, sa.func.count()).where(table.date.in_(days)).group_by(table.date)
    with engine.connect() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(statement)}


def unexplained_decreases(engine: sa.Engine) -> int:
    """Return how many counters of the last weeks of data went back (or up, if they count down) without an event that says so."""
    table, events, facts = equipment_running_times.c, counter_events.c, counter_facts.c
    newest = sa.select(sa.func.max(table.date)).scalar_subquery()
    before = sa.func.lag(table.cumulative_hours).over(partition_by=table.equipment_id, order_by=table.date)
    recent = (
        sa.select(table.equipment_id, table.date, table.cumulative_hours, before.label("before"))
        .where(table.date > newest - _LOOK_BACK_DAYS, table.cumulative_hours.is_not(None))
        .subquery()
    )
    is_explained = sa.exists().where(events.equipment_id == recent.c.equipment_id, events.date == recent.c.date)
    is_up = sa.exists().where(facts.equipment_id == recent.c.equipment_id, facts.is_counting_backwards)
    went_back = sa.case((is_up, recent.c.cumulative_hours > recent.c.before), else_=recent.c.cumulative_hours < recent.c.before)
    statement = sa.select(sa.func.count()).where(went_back, ~is_explained)
    with engine.connect() as connection:
        return int(connection.scalar(statement) or 0)
