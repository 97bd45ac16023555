"""What only Dagster's instance shows: failing checks, ticks and runs, a silent daemon; and the jobs of the UI."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, SensorInstigatorData, TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.operations.dagster_signs import DagsterSigns
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.domain.alert_configuration import Thresholds
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage.engine import with_driver
from tests.alerts.conftest import World
from tests.defs.conftest import run

pytestmark = pytest.mark.xdist_group("runs")
NOW = dt.datetime.now(dt.UTC)


@pytest.fixture
def instance(empty_database: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    address = with_driver(empty_database, "psycopg2")
    (tmp_path / "dagster.yaml").write_text(
        f'storage:\n  postgres:\n    postgres_url: "{address}"\ntelemetry:\n  enabled: false\n'
        "run_coordinator:\n  module: dagster.core.run_coordinator\n  class: QueuedRunCoordinator\n"
    )
    with dg.DagsterInstance.from_config(str(tmp_path)) as found:
        yield found


def found_by(world: World, instance: dg.DagsterInstance, *, minutes: float = 0) -> dict[str, str]:
    """What is wrong with Dagster so many minutes from now, by fingerprint."""
    signs = DagsterSigns(lambda: instance, world.database.engine)
    seen = signs(NOW + dt.timedelta(minutes=minutes), Thresholds())
    return {finding.fingerprint: finding.severity.value for finding in seen.findings}


def checked(*, passed: bool, severity: dg.AssetCheckSeverity) -> dg.Definitions:
    @dg.asset_check(asset=dg.AssetKey(["cmms", "plants"]), name="plants_have_names")
    def plants_have_names() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=passed, severity=severity, metadata={"nameless": 3}, description="3 have none.")

    selection = dg.AssetSelection.checks(plants_have_names)
    return dg.Definitions(asset_checks=[plants_have_names], jobs=[dg.define_asset_job("checks", selection=selection)])


def test_a_failing_check_of_a_run_that_succeeded_alerts_until_it_passes(world: World, instance: dg.DagsterInstance) -> None:
    assert run(checked(passed=False, severity=dg.AssetCheckSeverity.WARN), instance, "checks").success
    assert found_by(world, instance) == {"check:cmms/plants:plants_have_names": "low"}
    assert run(checked(passed=False, severity=dg.AssetCheckSeverity.ERROR), instance, "checks").success
    signs = DagsterSigns(lambda: instance, world.database.engine)
    world.look(more_signs=signs)
    (alert,) = world.alerts()
    assert (alert["severity"], alert["detail"], alert["figures"]) == ("high", "3 have none.", {"nameless": 3})
    assert run(checked(passed=True, severity=dg.AssetCheckSeverity.ERROR), instance, "checks").success
    world.look(minutes=3, more_signs=signs)
    assert world.standing() == {}


def test_a_sensor_whose_ticks_fail_in_a_row_alerts_until_one_succeeds(world: World, instance: dg.DagsterInstance) -> None:
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("cmms"), "repository"), "inbox_sensor")
    data = SensorInstigatorData(min_interval=1)
    state = InstigatorState(origin, InstigatorType.SENSOR, InstigatorStatus.RUNNING, data)
    instance.add_instigator_state(state)

    def tick(number: int, status: TickStatus) -> None:
        at = NOW.timestamp() + number
        error = SerializableErrorInfo("no", [], None) if status is TickStatus.FAILURE else None
        instance.create_tick(
            TickData(
                origin.get_id(), "inbox_sensor", InstigatorType.SENSOR, status, at, error=error, selector_id=state.selector_id
            )
        )

    tick(0, TickStatus.FAILURE)
    tick(1, TickStatus.FAILURE)
    assert found_by(world, instance) == {}
    tick(2, TickStatus.FAILURE)
    tick(3, TickStatus.STARTED)
    assert found_by(world, instance) == {"tick:inbox_sensor": "high"}
    tick(4, TickStatus.SKIPPED)
    assert found_by(world, instance) == {}
    instance.update_instigator_state(state.with_status(InstigatorStatus.STOPPED))
    for number in (5, 6, 7):
        tick(number, TickStatus.FAILURE)
    assert found_by(world, instance) == {}


def test_a_daemon_without_a_sign_of_life_is_critical(world: World, instance: dg.DagsterInstance) -> None:
    assert found_by(world, instance) == {}  # it has never run here
    instance.add_daemon_heartbeat(DaemonHeartbeat(NOW.timestamp(), "SENSOR", "an-id", []))
    assert found_by(world, instance, minutes=5) == {}
    assert found_by(world, instance, minutes=5.1) == {"daemon": "critical"}
    instance.add_daemon_heartbeat(DaemonHeartbeat(NOW.timestamp() + 306, "SENSOR", "an-id", []))
    assert found_by(world, instance, minutes=5.1) == {}


def test_a_run_that_a_schedule_started_and_that_failed_alerts_until_one_succeeds(
    world: World, instance: dg.DagsterInstance
) -> None:
    def later() -> float:
        return (dt.datetime.now(dt.UTC) - NOW).total_seconds() / 60 + 9  # runs end by the clock of the world

    def nightly(*, fails: bool) -> dg.JobDefinition:
        @dg.op
        def work() -> None:
            if fails:
                raise dg.Failure("no")

        @dg.job
        def sync_plants() -> None:
            work()

        return sync_plants

    by_hand = nightly(fails=True).execute_in_process(instance=instance, raise_on_error=False)
    assert not by_hand.success
    assert found_by(world, instance, minutes=later()) == {}  # whoever starts it sees it
    scheduled = {"dagster/schedule_name": "sync_plants_nightly"}
    nightly(fails=True).execute_in_process(instance=instance, raise_on_error=False, tags=scheduled)
    assert found_by(world, instance) == {}  # it may be started again
    assert found_by(world, instance, minutes=later()) == {"run:sync_plants": "critical"}  # without a log of the sync
    nightly(fails=False).execute_in_process(instance=instance)
    assert found_by(world, instance, minutes=later()) == {}


def test_the_jobs_of_the_ui_look_show_and_acknowledge(
    world: World, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    defs = build_defs(read_settings(), {"warehouse": Warehouse(database_url=world.database.url)})
    assert run(checked(passed=False, severity=dg.AssetCheckSeverity.ERROR), instance, "checks").success
    looked = run(defs, instance, "check_alerts")
    assert looked.success
    (observed,) = [event for event in looked.all_events if event.is_asset_observation]
    shown = observed.asset_observation_data.asset_observation.metadata
    assert (shown["alerts_standing"].value, shown["alerts_high"].value, shown["alerts_opened"].value) == (1, 1, 1)
    (row,) = shown["alerts"].value.records if hasattr(shown["alerts"].value, "records") else shown["alerts"].records
    assert row.data["title"] == "The check plants_have_names of cmms/plants fails"
    (evaluation,) = looked.get_asset_check_evaluations()
    assert (evaluation.check_name, evaluation.passed) == ("alerts_are_watched", False)
    config = {"ops": {"acknowledge": {"config": {"alert": row.data["id"], "note": "known", "by": "jane"}}}}
    assert run(defs, instance, "acknowledge_alert", run_config=config).success
    (alert,) = world.alerts()
    assert (alert["status"], alert["acknowledged_by"], alert["acknowledgement"]) == ("acknowledged", "jane", "known")
    config["ops"]["acknowledge"]["config"]["alert"] = 999
    assert not run(defs, instance, "acknowledge_alert", run_config=config).success
