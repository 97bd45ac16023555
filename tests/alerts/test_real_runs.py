"""Each trigger fires and clears on what really runs: syncs of a real source, drains, decisions, sensors of a real daemon loop."""

import datetime as dt
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import stamina
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import InProcessTestWorkspaceLoadTarget, create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.sensor import execute_sensor_iteration

from cmms_pipelines.defs.operations.dagster_signs import DagsterSigns
from cmms_pipelines.domain.errors import CmmsError
from cmms_pipelines.domain.events import HookStatus
from cmms_pipelines.storage.conflict_queue import Choice
from cmms_pipelines.storage.inbox_replay import put_back
from cmms_pipelines.storage.inbox_search import EventFilter
from cmms_pipelines.storage.tables import plants
from cmms_pipelines.sync.replay import replay_arrived
from tests.alerts.conftest import UI, World
from tests.dagster_instances import instance_on
from tests.domain.samples import master_record, reading_record
from tests.emulator_server import Emulator, running_emulator
from tests.storage.edits_world import conflicts, create_order, edit, resolve, source_says
from tests.storage.inbox_world import drain_now, query, work_order
from tests.sync.conftest import Source, settings_for, silent
from tests.sync.served import Served, serving

PLANT = "B6LG"
WITH_MACHINES = "B6JF"
CLEARED = 4
MONDAY = dt.date(2026, 3, 2)
AFTER_MONDAY = dt.datetime(2026, 3, 3, 12, tzinfo=dt.UTC)
FLAKY_SENSOR = """
from pathlib import Path
import dagster as dg

@dg.op
def nothing(): ...

@dg.job
def work(): nothing()

@dg.sensor(job=work, minimum_interval_seconds=1, default_status=dg.DefaultSensorStatus.RUNNING)
def flaky_sensor():
    if Path(__file__).with_name("broken").exists():
        raise ValueError("the source of the sensor is away")
    return dg.SkipReason("nothing to do")

defs = dg.Definitions(jobs=[work], sensors=[flaky_sensor])
"""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as server:
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Emulator, Served]]:
    with serving() as served:
        yield served


@pytest.fixture
def plant(world: World) -> World:
    """A world with one plant."""
    with world.database.engine.begin() as connection:
        connection.execute(sa.insert(plants).values(plant_code=PLANT, name=PLANT, time_zone="America/New_York"))
    return world


def masters(count: int, *, wrong: int = 0) -> list[dict[str, Any]]:
    """Machines of the plant, of which the first `wrong` have no number."""
    return [
        master_record(ID=number, EQUNR="" if number < wrong else f"N{number}", OBJNR=f"IEN{number}") for number in range(count)
    ]


def test_the_share_of_records_that_a_real_sync_refuses_makes_the_severity_and_a_good_sync_clears_it(
    plant: World, server: tuple[Emulator, Served], tmp_path: Path
) -> None:
    emulator, served = server
    source = Source(plant.database, settings_for(emulator, plant.database, tmp_path))
    for refused, severity in (
        (0, None),
        (99, "medium"),
        (100, "medium"),
        (101, "high"),
        (1000, "critical"),
        (0, None),
    ):
        served.masters = masters(1000, wrong=refused)
        if refused < 1000:
            assert source.equipment([PLANT]).counts.refused == refused
        else:
            with pytest.raises(CmmsError, match="plant_unreadable"):
                source.equipment([PLANT])
        plant.look(minutes=CLEARED)
        assert plant.standing() == ({"sync:equipment": severity} if severity else {}), refused
    assert query(plant.database.url, "SELECT count(*) FROM cmms.alerts") == [(1,)]


def test_syncs_that_the_source_lets_not_in_are_critical_and_one_that_it_does_clears_them(
    plant: World, emulator: Emulator, tmp_path: Path
) -> None:
    plant.configure()
    there = Source(plant.database, settings_for(emulator, plant.database, tmp_path))
    there.plants()
    wrong = Source(plant.database, settings_for(emulator, plant.database, tmp_path, api_token="wrong"))
    for _ in range(3):
        with pytest.raises(CmmsError, match="401"):
            wrong.equipment([PLANT])
    plant.look(minutes=CLEARED)
    assert plant.standing() == {"sync:equipment": "critical"}
    assert plant.mail.subjects() == ["[critical] The sync of equipment failed completely, 3 times in a row"]
    assert all(part in plant.mail.text() for part in ("Since: ", "How much: ", "Probable cause: ", "401", f"All alerts: {UI}"))
    assert "wrong" not in plant.mail.text()
    assert there.equipment([WITH_MACHINES, PLANT]).counts.inserted > 0
    plant.look(minutes=CLEARED)
    assert plant.standing() == {}
    assert plant.mail.subjects()[1].startswith("[critical] resolved: ")


def test_a_source_that_is_not_there_is_one_alert_until_a_sync_has_asked_it(
    plant: World, emulator: Emulator, tmp_path: Path
) -> None:
    nowhere = settings_for(emulator, plant.database, tmp_path, api_url="http://127.0.0.1:9")
    with stamina.set_testing(True, attempts=2):  # as many attempts as it takes, without the waits between them
        for attempt in (Source(plant.database, nowhere).equipment, Source(plant.database, nowhere).running_times):
            with pytest.raises(CmmsError):
                attempt([PLANT]) if attempt.__name__ == "equipment" else attempt(MONDAY, plants=[PLANT])
    plant.look(minutes=CLEARED)
    assert plant.standing() == {"external_api": "critical"}
    there = Source(plant.database, settings_for(emulator, plant.database, tmp_path))
    there.equipment([PLANT])
    there.running_times(MONDAY, plants=[PLANT])
    plant.look(minutes=CLEARED)
    assert [fingerprint for fingerprint in plant.standing() if not fingerprint.startswith("sync:")] == []


def test_events_that_nobody_drains_and_those_that_fail_alert_until_they_are_applied(world: World) -> None:
    url = world.database.url
    query(url, "ALTER TABLE cmms.work_orders ADD CONSTRAINT no_trap CHECK (title <> 'trap')")
    for number in range(10):
        work_order(url, str(number), type="created", title="trap" if number < 2 else "fine")
    world.look(minutes=6)
    assert world.standing() == {"inbox": "high"}
    report = drain_now(url)
    assert (report.applied, report.dead) == (8, 2)
    world.now = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10)
    world.look()
    assert world.standing() == {"dead_letters": "high"}  # two of ten: more than a tenth
    query(url, "ALTER TABLE cmms.work_orders DROP CONSTRAINT no_trap")
    with world.database.engine.begin() as connection:
        assert len(put_back(connection, EventFilter(statuses=(HookStatus.DEAD_LETTER,)), actor="jane")) == 2
    assert drain_now(url).applied == 2
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_a_conflict_that_nobody_decides_alerts_after_a_day_until_somebody_does(world: World) -> None:
    order = create_order(world.database)
    edit(world.database, order, 12, title="ours")
    source_says(world.database, 10, title="theirs")
    [conflict] = conflicts(world.database)
    world.look(minutes=60)
    assert world.standing() == {}
    world.look(minutes=24 * 60)
    assert world.standing() == {"conflicts": "medium"}
    resolve(world.database, conflict["id"], Choice.THEIRS)
    world.look(minutes=CLEARED)
    assert world.standing() == {}


def test_a_day_that_no_sync_has_brought_is_missing_until_one_does(world: World, emulator: Emulator, tmp_path: Path) -> None:
    source = Source(world.database, settings_for(emulator, world.database, tmp_path))
    source.plants()
    source.equipment([WITH_MACHINES])
    query(world.database.url, "UPDATE cmms.plants SET created_at = '2026-03-02T12:00Z'")
    world.now = AFTER_MONDAY
    world.look()
    assert world.standing() == {f"missing_day:{WITH_MACHINES}": "high"}
    source.running_times(MONDAY, plants=[WITH_MACHINES])
    world.look(minutes=CLEARED)
    assert [fingerprint for fingerprint in world.standing() if fingerprint.startswith("missing_day")] == []


def test_more_refusals_than_the_weekday_has_usually_alert_until_the_machines_have_arrived(
    plant: World, server: tuple[Emulator, Served], tmp_path: Path
) -> None:
    emulator, served = server
    source = Source(plant.database, settings_for(emulator, plant.database, tmp_path))

    def sync(day: dt.date, strangers: int) -> None:
        at = {"DATE": str(day), "DATE_TIME": f"{day} 20:00:00", "SWERK": PLANT}
        served.readings = [reading_record(ID=number, EQUNR=f"N{number}", CNTRR=None, **at) for number in range(strangers)]
        assert source.running_times(day, plants=[PLANT]).counts.refused == strangers

    for week, strangers in enumerate((6, 4, 5, 5, 7), start=1):
        sync(MONDAY - dt.timedelta(weeks=week), strangers)
    sync(MONDAY, 10)  # median 5, MAD 1: usual are at most 5 + max(4.4, 5, a quarter of 5)
    plant.now = AFTER_MONDAY
    plant.look()
    assert f"rejections:{PLANT}" not in plant.standing()
    sync(MONDAY, 30)
    plant.look(minutes=CLEARED)
    assert f"rejections:{PLANT}" in plant.standing()
    served.masters = masters(30)
    source.equipment([PLANT])
    assert replay_arrived(plant.database.engine, source.settings, sync_key="arrived", run_id=None, progress=silent).accepted > 0
    plant.look(minutes=CLEARED)
    assert f"rejections:{PLANT}" not in plant.standing()


def test_a_sensor_that_really_fails_three_times_alerts_until_it_does_not(
    world: World, dagster_database: str, tmp_path: Path
) -> None:
    code, broken = tmp_path / "flaky.py", tmp_path / "broken"
    code.write_text(FLAKY_SENSOR)
    broken.touch()
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(python_file=str(code), attribute="defs"), location_name="flaky")
    with (
        instance_on(dagster_database, tmp_path) as instance,
        create_test_daemon_workspace_context(InProcessTestWorkspaceLoadTarget(origin), instance) as workspace,
        ThreadPoolExecutor(1) as ticks,
    ):
        signs = DagsterSigns(lambda: instance, world.database.engine)

        def tick() -> None:
            futures: dict[str, Any] = {}
            list(execute_sensor_iteration(workspace, logging.getLogger("ticks"), ticks, None, sensor_tick_futures=futures))
            for future in futures.values():
                future.result()
            time.sleep(1.05)  # the sensor's own interval

        for _ in range(2):
            tick()
        world.look(more_signs=signs)
        assert world.standing() == {}
        tick()
        world.look(more_signs=signs)
        (alert,) = world.alerts()
        assert (alert["fingerprint"], alert["severity"]) == ("tick:flaky_sensor", "high")
        broken.unlink()
        tick()
        world.look(minutes=CLEARED, more_signs=signs)
        assert world.standing() == {}
