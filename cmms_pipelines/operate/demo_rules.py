"""The rules of maintenance that the demo sets for its aircraft, so that some of it is due within the week that it brings.

In every week of 2013 at least ten narrow-body jets are due, and ten overdue, by the first rule.

What belongs here: which they are, and setting them. What does not: what is due by them (the mart `maintenance_due`).
"""

from decimal import Decimal

import sqlalchemy as sa

from cmms_pipelines.domain.maintenance_rules import MaintenanceRule, Scheduling
from cmms_pipelines.storage.maintenance_rules import put_rules
from cmms_pipelines.storage.tables import equipment, maintenance_rules

RULES = (
    MaintenanceRule(
        name="20 h check",
        task="Fluids, tyres, brakes",
        equipment_group="Narrow-body jets",
        interval_hours=Decimal(20),
        interval_days=30,
        tolerance_hours=Decimal(5),
    ),
    MaintenanceRule(
        name="Lubrication",
        equipment_group="Regional jets",
        interval_hours=Decimal(15),
        tolerance_hours=Decimal(3),
        title_contains="Lubrication",
    ),
    MaintenanceRule(
        name="250 h inspection",
        equipment_group="Wide-body jets",
        interval_hours=Decimal(250),
        tolerance_hours=Decimal(25),
        scheduling=Scheduling.FIXED,
        title_contains="250 h inspection",
    ),
    MaintenanceRule(name="Oil analysis", equipment_group="Piston aircraft", interval_hours=Decimal(25), interval_days=30),
)


def set_rules(engine: sa.Engine) -> None:
    """Set the rules; those of an earlier demo stay as they are."""
    with engine.begin() as connection:
        put_rules(connection, RULES, actor="demo")


def machines_with_a_rule(engine: sa.Engine) -> int:
    """Return how often a rule is for an active machine: what `maintenance_due` must have rows for."""
    query = (
        sa.select(sa.func.count())
        .select_from(maintenance_rules)
        .join(equipment, equipment.c.equipment_group_id == maintenance_rules.c.equipment_group_id)
        .where(equipment.c.is_active, maintenance_rules.c.is_active)
    )
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def due_by_status(engine: sa.Engine) -> dict[str, int]:
    """Return the rows of `maintenance_due` by status."""
    query = "SELECT status, count(*) FROM analytics.maintenance_due GROUP BY status ORDER BY min(priority)"
    with engine.connect() as connection:
        return {status: int(rows) for status, rows in connection.execute(sa.text(query)).tuples()}
