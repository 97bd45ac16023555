"""What is configured has its effect in Dagster: times when definitions load, on and off at each tick, the rest in each run."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.schedule_definition import ScheduleExecutionData

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.reporting import daily_report
from cmms_pipelines.defs.reporting.jobs import build_schedule
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.domain.schedule_times import BUILT_IN
from cmms_pipelines.settings import Settings, read_settings
from cmms_pipelines.storage.configuration_centre import KINDS, change
from cmms_pipelines.storage.settings_at_start import settings_at_start
from cmms_pipelines.storage.settings_in_force import AT_LOAD
from cmms_pipelines.storage.tables import plants, sync_configurations
from tests.conftest import Database
from tests.emulator_server import Emulator, running_emulator

TICK = datetime(2026, 3, 15, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as server:
        yield server


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CMMS_API_URL", "CMMS_DATABASE_URL", "CMMS_TIME_ZONE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CMMS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def configure(database: Database, kind: str, document: dict[str, Any]) -> None:
    def no_box() -> Any:  # noqa: ANN401 - no kind of these tests has anything to seal
        raise AssertionError(kind)

    with database.engine.begin() as connection:
        system = "sap" if kind == "mapping" else "cmms"
        change(connection, no_box, KINDS[kind], system, document, expected_version=None, actor="tests")


def unheard(message: str) -> None:
    raise AssertionError(message)


def test_the_schedules_that_can_be_configured_are_those_that_there_are() -> None:
    found = {schedule.name: schedule.cron_schedule for schedule in build_defs(Settings()).schedules or ()}
    *_, report = daily_report.build(Settings())
    found |= {schedule.name: schedule.cron_schedule for schedule in (build_schedule("UTC"), report)}
    assert found == dict(BUILT_IN)


def test_times_and_look_back_hold_from_the_next_load(database: Database, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMS_DATABASE_URL", database.url)
    configure(
        database, "schedules", {"time_zone": "Asia/Jakarta", "schedules": {"sync_plants_nightly": {"cron": "5 22 * * 1-5"}}}
    )
    configure(database, "thresholds", {"backfill_days_per_run": 7})
    defs = build_defs(settings_at_start(read_settings(), unheard, AT_LOAD))
    times = {name: defs.resolve_schedule_def(name) for name in ("sync_plants_nightly", "sync_equipment_nightly")}
    assert {name: (one.cron_schedule, one.execution_timezone) for name, one in times.items()} == {
        "sync_plants_nightly": ("5 22 * * 1-5", "Asia/Jakarta"),
        "sync_equipment_nightly": ("0 0 * * *", "Asia/Jakarta"),
    }
    hours = defs.resolve_assets_def(dg.AssetKey(["cmms", "equipment_running_times"]))
    assert isinstance(hours.partitions_def, dg.DailyPartitionsDefinition)
    assert hours.partitions_def.timezone == "Asia/Jakarta"
    assert hours.backfill_policy == dg.BackfillPolicy.multi_run(max_partitions_per_run=7)
    monkeypatch.setenv("CMMS_TIME_ZONE", "Europe/Berlin")
    defs = build_defs(settings_at_start(read_settings(), unheard, AT_LOAD))
    assert defs.resolve_schedule_def("sync_plants_nightly").execution_timezone == "Europe/Berlin"


def tick(defs: dg.Definitions, database: Database, name: str) -> ScheduleExecutionData:
    warehouse = Warehouse(database_url=database.url)
    repository = defs.get_repository_def()
    with (
        dg.instance_for_test() as instance,
        dg.build_schedule_context(
            instance, scheduled_execution_time=TICK, repository_def=repository, resources={"warehouse": warehouse}
        ) as context,
    ):
        found = defs.resolve_schedule_def(name).evaluate_tick(context)
    warehouse.engine().dispose()
    return found


@pytest.mark.parametrize("name", ["sync_running_times_daily", "clean_up_logs_weekly"])
def test_a_schedule_is_switched_off_and_on_between_two_ticks(database: Database, home: Path, name: str) -> None:
    defs = build_defs(Settings())
    assert len(tick(defs, database, name).run_requests or []) == 1
    configure(database, "schedules", {"schedules": {name: {"is_on": False}}})
    off = tick(defs, database, name)
    assert not off.run_requests
    assert "configured off" in (off.skip_message or "")
    configure(database, "schedules", {"schedules": {name: {"is_on": True, "cron": "0 9 * * *"}}})
    assert len(tick(defs, database, name).run_requests or []) == 1  # the time it was loaded with holds: no night is left out


def test_without_a_database_or_its_tables_the_environment_alone_holds(
    empty_database: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_API_TIMEOUT_S", "5")
    environment = read_settings()
    assert settings_at_start(environment, unheard) is environment
    assert not home.exists()  # nothing was started to find out
    told: list[str] = []
    monkeypatch.setenv("CMMS_DATABASE_URL", empty_database)
    assert settings_at_start(read_settings(), told.append).api_timeout_s == 5
    assert "does not exist" in told[0]


def test_a_run_asks_where_it_is_configured_and_hears_of_what_was_spoilt(
    emulator: Emulator, database: Database, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_API_TOKEN", emulator.token)
    configure(database, "api", {"url": emulator.url})
    configure(database, "thresholds", {"keep_logs_days": 30})
    with database.engine.begin() as connection:
        table = sync_configurations
        spoilt = sa.update(table).where(table.c.sync_type == "thresholds").values(configuration={"keep_logs_days": -1})
        connection.execute(spoilt)
    defs = build_defs(read_settings(), {"warehouse": Warehouse(database_url=database.url)})
    with dg.instance_for_test() as instance:
        result = defs.resolve_job_def("sync_plants").execute_in_process(instance=instance, raise_on_error=False)
        logged = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert result.success
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(plants)) == 35
    assert any("keep_logs_days" in text and "Version 1 stays in force" in text for text in logged)
