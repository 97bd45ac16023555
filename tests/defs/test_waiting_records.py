"""Records that wait for a plant or a machine are applied by whatever brings it, also where that fails in part."""

from datetime import date

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.running import range_tags
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage import rejections, sync_log
from cmms_pipelines.storage.tables import equipment, equipment_running_times, plants
from tests.conftest import Database
from tests.defs.conftest import run
from tests.storage.readings_world import make_world, reading
from tests.storage.test_rejections import refusal

DAY = date(2013, 10, 28)
MISSING = {"equipment": ["N190JB", "N0SUCH"]}  # the source has the first of them


def wait(database: Database, number: str, *, rule: str = "equipment_unknown") -> None:
    """Put a reading into the quarantine, as a sync does that came too early."""
    row = refusal(rule, key=number, payload=reading("B6JF", DAY, 5, 100, number=number), equipment_number=number)
    with database.engine.begin() as connection:
        rejections.store(connection, "running_times", None, pd.DataFrame([{**row, "plant_code": "B6JF"}]))


def add_machine(database: Database, number: str) -> None:
    with database.engine.begin() as connection:
        plant = sa.select(plants.c.id, sa.literal(number)).where(plants.c.plant_code == "B6JF")
        connection.execute(sa.insert(equipment).from_select(["plant_id", "equipment_number"], plant))


def applied(database: Database) -> set[str]:
    """The machines that have a reading."""
    of_reading = equipment.c.id == equipment_running_times.c.equipment_id
    with database.engine.connect() as connection:
        return set(connection.scalars(sa.select(equipment.c.equipment_number).where(sa.exists().where(of_reading))))


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return str(failure.user_failure_data.description)  # type: ignore[union-attr]


@pytest.mark.parametrize("token", [None, "expired"])
def test_the_plants_apply_what_waited_for_one_also_where_the_source_refuses_us(
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
) -> None:
    make_world(database.engine)
    wait(database, "N2", rule="plant_unknown")
    if token:
        monkeypatch.setenv("CMMS_API_TOKEN", token)
    result = run(defs, instance, "sync_plants")
    assert applied(database) == {"N2"}
    assert result.success is (token is None)
    if token:
        assert "CMMS_API_TOKEN" in failure_of(result)


def test_the_equipment_applies_what_waited_for_those_that_came_where_another_machine_is_missing(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    run(defs, instance, "sync_plants")
    wait(database, "N190JB")
    codes = instance.get_dynamic_partitions("plants")
    config = {"ops": {"cmms__equipment": {"config": MISSING}}}
    result = run(defs, instance, "sync_equipment", tags=range_tags(codes[0], codes[-1]), run_config=config)
    assert "N0SUCH" in failure_of(result)
    assert applied(database) == {"N190JB"}


def test_a_sync_of_masters_on_demand_does_so_too(defs: dg.Definitions, instance: dg.DagsterInstance, database: Database) -> None:
    run(defs, instance, "sync_plants")
    wait(database, "N190JB")
    config = {"ops": {"sync_on_demand": {"config": {**MISSING, "what": ["equipment"]}}}}
    result = run(defs, instance, "sync_now", run_config=config)
    assert "N0SUCH" in failure_of(result)
    assert applied(database) == {"N190JB"}


@pytest.mark.parametrize("fails_again", [False, True])
def test_masters_that_failed_and_are_done_again_bring_what_waited_for_them(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch, fails_again: bool
) -> None:
    run(defs, instance, "sync_plants")
    wait(database, "N190JB")
    with monkeypatch.context() as away:
        away.setenv("CMMS_API_TOKEN", "expired")
        assert not run(
            defs, instance, "sync_now", run_config={"ops": {"sync_on_demand": {"config": {"what": ["equipment"]}}}}
        ).success
    if fails_again:
        with database.engine.begin() as connection:
            log = sync_log.insert_log(connection, "equipment", {"plants": ["B6XX"]}, "another", "another-run")
        sync_log.finish(database.engine, log, sync_log.SyncStatus.FAILED, stage_seconds={}, error_message="no such plant")
    result = run(defs, instance, "retry_failed", run_config={"ops": {"retry_what_failed": {"config": {"dry_run": False}}}})
    assert applied(database) == {"N190JB"}
    assert result.success is not fails_again
    if fails_again:
        assert "1 of 2 syncs failed again" in failure_of(result)
        assert "B6XX" in failure_of(result)


def plants_job() -> dg.JobDefinition:
    """The job as another process finds it, for runs that Dagster executes again."""
    return build_defs(read_settings()).resolve_job_def("sync_plants")


def test_an_attempt_applies_what_came_since_the_one_before_also_of_the_same_day_and_plant(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert defs
    monkeypatch.setenv("CMMS_DATABASE_URL", database.url)
    make_world(database.engine)
    for number in ("N2", "N9"):
        wait(database, number)
    job = dg.reconstructable(plants_job)
    with dg.execute_job(job, instance) as first:
        assert first.success
    assert applied(database) == {"N2"}
    add_machine(database, "N9")
    with dg.execute_job(job, instance, reexecution_options=dg.ReexecutionOptions(parent_run_id=first.run_id)) as again:
        assert again.success
    assert applied(database) == {"N2", "N9"}
