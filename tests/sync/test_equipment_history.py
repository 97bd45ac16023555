"""Machines over time: what moves, changes, leaves and comes back keeps its identity and its history."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI, Request

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.server import base_url, listen
from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage.tables import equipment, equipment_groups, equipment_running_times, plants
from cmms_pipelines.sync.equipment import sync_equipment
from cmms_pipelines.sync.scope import equipment_numbers, require_synced, running_times_scope
from tests.conftest import Database
from tests.emulator_server import running
from tests.storage.readings_world import make_world, reading, sync
from tests.sync.conftest import Source, silent

DAYS = [date(2013, 10, 28), date(2013, 10, 29)]


class Register:
    """A source whose masters a test changes from night to night."""

    def __init__(self, url: str, database: Database, home: Path) -> None:
        self.masters: list[dict[str, Any]] = []
        self.engine = database.engine
        given = {"home": home, "database_url": database.url, "api_url": url, "api_token": "any"}
        self.settings = Settings.model_validate(given)
        self._nights = 0

    def night(self, *masters: dict[str, Any], plant_codes: tuple[str, ...] = ("B6EW", "B6JF", "B6LG")) -> None:
        self.masters[:] = masters
        self._nights += 1
        sync_equipment(self.engine, self.settings, plant_codes, sync_key=f"night-{self._nights}", run_id=None, progress=silent)

    def machine(self, number: str = "N526JB") -> Any:  # noqa: ANN401 - a row
        table = equipment.c
        statement = (
            sa.select(table.id, table.is_active, plants.c.plant_code, equipment_groups.c.name.label("group"))
            .join(plants, plants.c.id == table.plant_id)
            .outerjoin(equipment_groups, equipment_groups.c.id == table.equipment_group_id)
            .where(table.equipment_number == number)
        )
        with self.engine.connect() as connection:
            return connection.execute(statement).one()

    def history(self) -> list[tuple[date, float, str]]:
        times = equipment_running_times.c
        statement = (
            sa.select(times.date, times.running_hours, plants.c.plant_code)
            .join(plants, plants.c.id == times.plant_id)
            .order_by(times.date)
        )
        with self.engine.connect() as connection:
            return [(row.date, float(row.running_hours), row.plant_code) for row in connection.execute(statement)]


@contextmanager
def served(masters: list[dict[str, Any]]) -> Iterator[str]:
    app = FastAPI()

    @app.get("/equipments")
    async def equipments(request: Request) -> dict[str, Any]:
        wanted = json.loads(await request.body())["plant"]
        return {"data": [master for master in masters if master["SWERK"] in wanted]}

    with listen("127.0.0.1", 0) as socket, running(app, socket):
        yield base_url(socket)


@pytest.fixture
def register(database: Database, tmp_path: Path) -> Iterator[Register]:
    make_world(database.engine)
    found = Register("http://127.0.0.1:1", database, tmp_path)
    with served(found.masters) as url:
        found.settings = found.settings.model_copy(update={"api_url": url})
        yield found


def master(plant: str = "B6LG", number: str = "N526JB", **fields: object) -> dict[str, Any]:
    return {"SWERK": plant, "EQUNR": number, "EQART": "AIRCRAFT", "CREATED_AT": "2013-01-01T00:00:00Z", **fields}


def test_a_machine_that_moves_keeps_its_identity_and_its_readings_keep_their_plant(register: Register) -> None:
    register.night(master("B6LG"))
    before = register.machine()
    sync(register.engine, reading("B6LG", DAYS[0], 5, 100))
    register.night(master("B6JF"))
    sync(register.engine, reading("B6JF", DAYS[1], 6, 106))
    after = register.machine()
    assert (before.plant_code, after.plant_code, after.id) == ("B6LG", "B6JF", before.id)
    assert register.history() == [(DAYS[0], 5.0, "B6LG"), (DAYS[1], 6.0, "B6JF")]


def test_a_machine_that_changes_its_group_keeps_its_history(register: Register) -> None:
    register.night(master(EQART="AIRCRAFT"))
    before = register.machine()
    sync(register.engine, reading("B6LG", DAYS[0], 5, 100))
    register.night(master(EQART="ROTORCRAFT"))
    after = register.machine()
    assert (before.group, after.group, after.id) == ("AIRCRAFT", "ROTORCRAFT", before.id)
    assert register.history() == [(DAYS[0], 5.0, "B6LG")]


@pytest.mark.parametrize("flag", ["INAC", "DLFL"])
def test_a_machine_that_is_flagged_is_inactive_keeps_its_readings_and_takes_new_ones_until_it_comes_back(
    register: Register, flag: str
) -> None:
    register.night(master())
    before = register.machine()
    sync(register.engine, reading("B6LG", DAYS[0], 5, 100))
    register.night(master(**{flag: "X"}))
    assert register.machine().is_active is False
    sync(register.engine, reading("B6LG", DAYS[1], 6, 106))
    assert len(register.history()) == 2
    register.night(master(**{flag: ""}))
    after = register.machine()
    assert (after.is_active, after.id) == (True, before.id)
    assert len(register.history()) == 2


def test_absence_alone_never_deactivates(register: Register) -> None:
    register.night(master(), master(number="N2"))
    register.night(master(number="N2"))
    register.night()
    assert register.machine().is_active is True
    assert register.machine("N2").is_active is True


def test_the_order_of_the_plants_does_not_matter_where_a_machine_is_in_two_registers(register: Register) -> None:
    old, new = master("B6LG"), master("B6JF", CREATED_AT="2013-06-01T00:00:00Z")
    register.night(old, new)
    first = register.machine().plant_code
    register.night(new, old)
    assert (first, register.machine().plant_code) == ("B6JF", "B6JF")


def test_a_sync_of_some_machines_brings_those_and_leaves_the_others_as_they_are(register: Register) -> None:
    register.masters[:] = [master("B6JF"), master("B6JF", number="N2")]
    session = sync_equipment(
        register.engine, register.settings, ["B6JF"], equipment_numbers=["N2"], sync_key="some", run_id=None, progress=silent
    )
    assert session.counts.received == 1
    assert (register.machine().plant_code, register.machine("N2").plant_code) == ("B6LG", "B6JF")


def test_a_typing_error_in_a_scope_is_told_and_nothing_is_an_empty_success(ready: Source) -> None:
    def scope(**given: Any) -> Any:  # noqa: ANN401 - as the function takes them
        return running_times_scope(ready.engine, ready.settings, **given)

    with pytest.raises(PermanentError, match=r"Unknown plant code B6JX: nothing was synced.* Did you mean B6JF"):
        scope(plants=["B6LG", "B6JX"])
    with pytest.raises(PermanentError, match=r"Unknown equipment number N190JX: nothing was synced.* Did you mean N190JB"):
        scope(equipment=["N190JX", "N190JB"])
    with pytest.raises(PermanentError, match=r"Unknown equipment number N0: the source did not send it"):
        require_synced(ready.engine, ["N0"])
    found = scope(plants=["B6LG", "B6JF", "B6JF"], equipment=["N190JB"])
    assert (found.plant_codes, found.equipment_numbers) == (["B6JF", "B6LG"], ["N190JB"])
    everything = scope()
    assert (everything.plant_codes, everything.equipment_numbers) == (None, None)
    with ready.engine.begin() as connection:
        connection.execute(sa.update(plants).where(plants.c.plant_code == "B6JF").values(is_active=False))
    assert "B6JF" in (scope(is_full_refresh=True).plant_codes or [])
    ready.settings = ready.settings.model_copy(update={"on_unknown_plant": UnknownPlantPolicy.CREATE})
    assert scope(plants=["XX"]).plant_codes == ["XX"]


def test_equipment_numbers_are_taken_as_they_are_stored() -> None:
    assert equipment_numbers(["000000000010020570", "10020570", " N526JB "]) == ["10020570", "N526JB"]
