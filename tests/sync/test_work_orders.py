"""A sync of work orders accounts for every record, in any dialect, and asks each night for what changed since the one before."""

from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.flights import flight_hours
from cmms_pipelines.emulator.work_orders import FIRST_ORDER, WorkOrder
from cmms_pipelines.emulator.work_orders import work_orders as emulated
from cmms_pipelines.storage.tables import api_sync_logs, work_orders
from cmms_pipelines.sync.replay import replay_arrived
from cmms_pipelines.sync.session import SyncSession
from cmms_pipelines.sync.work_orders import sync_work_orders
from tests.conftest import Database
from tests.emulator_server import TODAY, running_emulator
from tests.sync.conftest import Source, settings_for, silent
from tests.sync.tables import count, log_of, open_rejections, versions

FIRST, LAST = date(2014, 3, 1), date(2014, 3, 20)
PLANTS = ["B6JF", "DLLG", "EVEW", "UAEW"]


def sync(source: Source, *, first: date | None = FIRST, today: date = LAST, plants: list[str] | None = PLANTS) -> SyncSession:
    return sync_work_orders(
        source.engine,
        source.settings,
        today=today,
        first_day=first,
        plant_codes=plants,
        sync_key=f"orders-{count(source.engine, api_sync_logs)}",
        run_id=None,
        progress=silent,
    )


def truth() -> dict[str, WorkOrder]:
    """The orders of the plants that changed in the window, by the emulator's own rules."""
    found = emulated(flight_hours(), FIRST, LAST, TODAY.date())
    return {str(FIRST_ORDER + order.number): order for order in found if order.due.plant_code in PLANTS}


def rows(engine: sa.Engine) -> dict[str, dict[str, Any]]:
    with engine.connect() as connection:
        found = connection.execute(sa.select(work_orders)).mappings()
        return {row["work_order_number"]: dict(row) for row in found}


def machines(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(sa.text("SELECT equipment_number FROM cmms.equipment")))


@pytest.mark.parametrize("dialect", ["ims", "odata_v2", "odata_v4"])
def test_every_order_is_accounted_for_and_a_second_sync_writes_nothing(dialect: str, database: Database, tmp_path: Path) -> None:
    with running_emulator(dialect=dialect) as server:
        source = Source(database, settings_for(server, database, tmp_path, api_dialect=dialect))
        source.plants()
        source.equipment(PLANTS)
        counts = sync(source).counts
        again_from = versions(database.engine, work_orders)
        again = sync(source).counts
    # `ims` tells what changed in the window, OData what changed last in it
    expected = {number: order for number, order in truth().items() if dialect == "ims" or order.closed_on <= LAST}
    known, stored = machines(database.engine), rows(database.engine)
    assert len(expected) > 50
    assert set(stored) == {number for number, order in expected.items() if order.due.machine.tail_number in known}
    assert (counts.received, counts.inserted, counts.merged) == (len(expected), len(stored), 0)
    assert open_rejections(database.engine) == {"equipment_unknown": counts.refused}
    assert counts.refused == len(expected) - len(stored) > 0
    assert {(row["cmms_system_id"], row["status"], row["is_partial"], row["assignee"]) for row in stored.values()} == {
        ("sap", "closed", False, "MECH")
    }
    assert (again.unchanged, again.inserted, again.updated, again.refused) == (len(stored), 0, 0, counts.refused)
    assert versions(database.engine, work_orders) == again_from


def test_an_order_whose_machine_is_unknown_waits_and_is_applied_once_it_arrives(source: Source) -> None:
    source.plants()
    assert sync(source, plants=["B6JF"]).counts.inserted == 0
    waiting = open_rejections(source.engine)["equipment_unknown"]
    source.equipment(["B6JF"])
    arrived = replay_arrived(source.engine, source.settings, sync_key="arrived", run_id=None, progress=silent)
    stored = rows(source.engine)
    assert arrived.accepted_by_sync["work_orders"] == len(stored) > 0
    assert open_rejections(source.engine).get("equipment_unknown", 0) == waiting - len(stored)


def test_each_sync_begins_some_days_before_the_one_before_ended(source: Source) -> None:
    source.settings = source.settings.model_copy(update={"first_day": date(2014, 1, 15)})
    source.plants()
    with psycopg.connect(source.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)) as connection:
        connection.execute("UPDATE cmms.plants SET is_active = (plant_code = 'B6JF')")
    scopes = []
    for first, today in ((None, date(2014, 2, 20)), (date(2014, 2, 25), date(2014, 3, 10)), (None, date(2014, 3, 1))):
        session = sync(source, first=first, today=today, plants=None)
        scopes.append(log_of(source.engine, session.log.id)["scope"])
    assert [(scope["from"], scope["to"], scope["plants"]) for scope in scopes] == [
        ("2014-01-15", "2014-02-20", "all"),
        ("2014-02-25", "2014-03-10", "all"),
        ("2014-02-17", "2014-03-01", "all"),  # what an operator asked for in between closes no gap
    ]


def test_a_typing_error_is_no_empty_success(source: Source) -> None:
    source.plants()
    with pytest.raises(PermanentError, match="Unknown plant code B6JX"):
        sync(source, plants=["B6JX"])
    with pytest.raises(PermanentError, match="nothing was synced"):
        sync(source, first=date(2014, 3, 21))
