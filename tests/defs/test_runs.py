"""Real runs on a Dagster instance in PostgreSQL: what the UI shows afterwards is what the tables hold."""

from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.command_line_runs import COMMAND_LINE, STARTED_BY
from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.running import operator_errors, range_tags
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.newest_rows import SHOWN
from cmms_pipelines.storage.tables import equipment_running_times
from tests.conftest import Database
from tests.defs.conftest import run
from tests.sync.flown import Flown

PLANTS, EQUIPMENT, HOURS = (dg.AssetKey(["cmms", name]) for name in ("plants", "equipment", "equipment_running_times"))
DAYS = [date(2013, 10, 28), date(2013, 10, 29)]
RANGE = {"dagster/asset_partition_range_start": DAYS[0].isoformat(), "dagster/asset_partition_range_end": DAYS[-1].isoformat()}


def shown(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str | None, dict[str, object]]:
    """The metadata of the newest materialization of each partition."""
    records = instance.fetch_materializations(key, limit=200, ascending=True).records
    found = {}
    for record in records:
        assert record.asset_materialization is not None
        metadata = {name: value.value for name, value in record.asset_materialization.metadata.items()}
        found[record.partition_key] = metadata
    return found


def checks(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {f"{one.asset_key.path[-1]}:{one.check_name}": one.passed for one in result.get_asset_check_evaluations()}


def attempts(result: dg.ExecuteInProcessResult) -> int:
    kinds = [event.event_type for event in result.all_events]
    return kinds.count(dg.DagsterEventType.STEP_START) + kinds.count(dg.DagsterEventType.STEP_RESTARTED)


def test_plants_then_equipment_then_running_hours(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, flown: Flown
) -> None:
    first = run(defs, instance, "sync_plants")
    assert first.success
    codes = list(instance.get_dynamic_partitions("plants"))
    assert len(codes) == 35
    about_plants = shown(instance, PLANTS)[None]
    assert {name: about_plants[name] for name in ("records_received", "dagster/row_count", "active_plants")} == {
        "records_received": 35, "dagster/row_count": 35, "active_plants": 35,
    }  # fmt: skip

    assert len(about_plants["preview"].records) == SHOWN  # type: ignore[attr-defined]

    masters = run(defs, instance, "sync_equipment", tags=range_tags(codes[0], codes[-1]))
    assert masters.success
    about_masters = shown(instance, EQUIPMENT)
    assert [code for code, metadata in about_masters.items() if "preview" in metadata] == [codes[-1]]
    assert set(about_masters) == set(codes)
    assert sum(int(str(metadata["dagster/partition_row_count"])) for metadata in about_masters.values()) == 3316
    one = about_masters["B6JF"]
    assert (one["records_received"], one["records_inserted"], one["records_refused"]) == (3322, 3316, 6)
    empty_plants = {code for code, metadata in about_masters.items() if metadata["dagster/partition_row_count"] == 0}
    assert checks(masters) == {
        "equipment:every_record_accounted_for": True,
        "equipment:every_active_plant_has_equipment": not empty_plants,
    }

    hours = run(defs, instance, "sync_running_times", tags=RANGE)
    assert hours.success
    about_hours = shown(instance, HOURS)
    assert set(about_hours) == {day.isoformat() for day in DAYS}
    for day in DAYS:
        metadata = about_hours[day.isoformat()]
        assert metadata["dagster/partition_row_count"] == metadata["records_inserted"] == len(flown.expected(day))
        assert metadata["records_received"] == len(flown.received(day))
        assert metadata["api_requests"] == 14
        assert ("preview" in metadata) is (day == DAYS[-1]), "once for all days of a run"
    assert checks(hours) == {
        "equipment_running_times:every_record_accounted_for": True,
        "equipment_running_times:every_decrease_is_an_event": True,
    }
    logs = sync_log.read_of_run(database.engine, hours.run_id)
    assert [(log["sync_type"], log["records_processed"]) for log in logs] == [("running_times", len(flown.received(*DAYS)))]

    again = run(defs, instance, "sync_running_times", partition_key=DAYS[0].isoformat())
    assert again.success
    assert shown(instance, HOURS)[DAYS[0].isoformat()]["records_unchanged"] == len(flown.expected(DAYS[0]))


def test_a_selection_of_plants_and_machines_is_run_config(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, flown: Flown
) -> None:
    run(defs, instance, "sync_plants")
    run(defs, instance, "sync_equipment", partition_key="B6JF")
    config = {"ops": {"cmms__equipment_running_times": {"config": {"plants": ["B6JF", "B6LG"], "equipment": ["N190JB"]}}}}
    result = run(defs, instance, "sync_running_times", partition_key=DAYS[0].isoformat(), run_config=config)
    assert result.success
    (log,) = sync_log.read_of_run(database.engine, result.run_id)
    assert (log["scope"]["plants"], log["scope"]["equipment"]) == (["B6JF", "B6LG"], ["N190JB"])
    of_machine = [one for one in flown.received(DAYS[0]) if one[0] == "N190JB" and one[2] in {"B6JF", "B6LG"}]
    assert log["records_processed"] == len(of_machine)


def test_readings_that_were_waiting_are_applied_by_the_equipment_run(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, flown: Flown
) -> None:
    run(defs, instance, "sync_plants")
    assert run(defs, instance, "sync_running_times", partition_key=DAYS[0].isoformat()).success
    codes = instance.get_dynamic_partitions("plants")
    masters = run(defs, instance, "sync_equipment", tags=range_tags(codes[0], codes[-1]))
    assert masters.success
    with_master = [reading for reading in flown.received(DAYS[0]) if reading[0] in flown.registered]
    assert shown(instance, EQUIPMENT)["B6JF"]["waiting_readings_applied"] == len(with_master)
    assert checks(masters)["equipment:every_record_accounted_for"]
    with database.engine.connect() as connection:
        stored = connection.scalar(sa.select(sa.func.count()).select_from(equipment_running_times))
    assert stored == len(flown.expected(DAYS[0]))


def test_work_orders_of_the_external_api_are_told_on_the_page_of_their_asset(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    run(defs, instance, "sync_plants")
    run(defs, instance, "sync_equipment", partition_key="B6JF")
    config = {"ops": {"sync_changed_work_orders": {"config": {"plants": ["B6JF"], "first_day": "2026-03-01"}}}}
    result = run(defs, instance, "sync_work_orders", run_config=config)
    assert result.success
    (log,) = sync_log.read_of_run(database.engine, result.run_id)
    told = shown(instance, dg.AssetKey(["cmms", "work_orders"]))[None]
    assert told["records_inserted"] == log["records_inserted"] > 0
    assert 0 < len(told["preview"].records) <= SHOWN  # type: ignore[attr-defined]
    assert (log["sync_type"], log["scope"]["from"], log["scope"]["plants"]) == ("work_orders", "2026-03-01", ["B6JF"])


def test_a_plant_that_is_no_longer_active_loses_its_partition(
    defs: dg.Definitions, instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "plants.csv"
    monkeypatch.setenv("CMMS_PLANTS_FILE", str(path))
    path.write_text("plant_code,is_active\nB6JF,true\nB6LG,true\n")
    assert run(defs, instance, "sync_plants").success
    assert set(instance.get_dynamic_partitions("plants")) == {"B6JF", "B6LG"}
    path.write_text("plant_code,is_active\nB6JF,true\nB6LG,false\n")
    assert run(defs, instance, "sync_plants").success
    assert set(instance.get_dynamic_partitions("plants")) == {"B6JF"}


def test_a_refusal_of_the_source_fails_the_run_at_once_with_the_operators_sentence(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_API_TOKEN", "expired")
    result = run(defs, instance, "sync_plants")
    assert not result.success
    assert attempts(result) == 1
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "CMMS_API_TOKEN" in str(failed.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]
    assert [log["status"] for log in sync_log.read_of_run(database.engine, result.run_id)] == ["failed"]


@pytest.mark.parametrize(("error", "tries"), [(TransientError("it is raining"), 3), (PermanentError("no such plant"), 1)])
def test_a_passing_failure_is_tried_again_and_a_permanent_one_is_not(error: Exception, tries: int) -> None:
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=2))
    def fail(context: dg.OpExecutionContext) -> None:
        with operator_errors(context):
            raise error

    @dg.job(executor_def=dg.in_process_executor)
    def failing() -> None:
        fail()

    result = failing.execute_in_process(raise_on_error=False)
    assert attempts(result) == tries
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.user_failure_data.description == str(error)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("statement", "said", "tries"),
    [("SELECT pg_terminate_backend(pg_backend_pid())", "terminating connection", 2), ("SELECT 1 / 0", "division by zero", 1)],
)
def test_a_database_that_fails_a_step_is_told_in_a_sentence_and_tried_again_where_that_can_help(
    database: Database, statement: str, said: str, tries: int
) -> None:
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=1))
    def ask(context: dg.OpExecutionContext) -> None:
        with operator_errors(context), database.engine.connect() as connection:
            connection.execute(sa.text(statement))

    @dg.job(executor_def=dg.in_process_executor)
    def asking() -> None:
        ask()

    result = asking.execute_in_process(raise_on_error=False)
    assert attempts(result) == tries
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    description = str(failed.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]
    assert description.startswith(f"The database failed us: {said}")


def test_the_log_of_a_killed_run_is_closed_by_the_next_run(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    with database.engine.begin() as connection:
        killed = sync_log.insert_log(connection, "equipment", {}, "equipment:killed", "a-run-that-was-killed")
    assert run(defs, instance, "sync_plants").success
    assert sync_log.read(database.engine, killed.id)["status"] == "failed"


def hours_job() -> dg.JobDefinition:
    """The job as another process finds it, for runs that Dagster executes again."""
    return build_defs(read_settings()).resolve_job_def("sync_running_times")


def test_a_run_executed_again_belongs_to_the_sync_of_the_first_one_and_skips_what_that_one_did(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_DATABASE_URL", database.url)
    run(defs, instance, "sync_plants")
    job = dg.reconstructable(hours_job)
    tags = {"dagster/partition": DAYS[0].isoformat()}
    with dg.execute_job(job, instance, tags=tags) as first:
        assert first.success
    again = dg.execute_job(job, instance, tags=tags, reexecution_options=dg.ReexecutionOptions(parent_run_id=first.run_id))
    with again:
        assert again.success
    assert [log["records_processed"] > 0 for log in sync_log.read_of_run(database.engine, first.run_id)] == [True]
    assert [log["records_processed"] for log in sync_log.read_of_run(database.engine, again.run_id)] == [0]
    assert shown(instance, HOURS)[DAYS[0].isoformat()]["slices_done_earlier"] == 1


def test_a_full_refresh_executed_again_does_everything_again_and_only_an_automatic_retry_goes_on_where_it_was(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_DATABASE_URL", database.url)
    run(defs, instance, "sync_plants")
    job = dg.reconstructable(hours_job)
    tags = {"dagster/partition": DAYS[0].isoformat()}
    config = {"ops": {"cmms__equipment_running_times": {"config": {"full_refresh": True}}}}
    with dg.execute_job(job, instance, tags=tags, run_config=config) as first:
        assert first.success
    processed = []
    for more in ({}, {"dagster/retry_number": "1"}):
        options = dg.ReexecutionOptions(parent_run_id=first.run_id)
        with dg.execute_job(job, instance, tags={**tags, **more}, run_config=config, reexecution_options=options) as again:
            assert again.success
        (log,) = sync_log.read_of_run(database.engine, again.run_id)
        assert log["scope"]["full_refresh"] is True
        processed.append(log["records_processed"] > 0)
    assert processed == [True, False]


def test_the_weekly_clean_up_runs_and_says_what_it_removed(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    result = run(defs, instance, "clean_up_logs")
    assert result.success
    (log,) = sync_log.read_of_run(database.engine, result.run_id)
    assert (log["sync_type"], log["status"]) == ("clean_up", "success")
    ours = ("api_calls", "sync_slices", "sync_rejections", "api_sync_logs", "api_tokens", "alerts", "alert_deliveries")
    ours += ("delivery_counts", "hook_refusals")
    beside = ("dagster_events", "dagster_runs", "dagster_compute_logs", "daily_reports")
    nothing = dict.fromkeys((*ours, *beside), 0)
    ages = {"keep_days": 90, "keep_deliveries_days": 400, "keep_runs_days": 30}
    assert log["scope"] == {**ages, "removed": nothing}


@pytest.mark.parametrize(("hits_before", "tries"), [(False, 1), (True, 2)])
def test_a_cancelled_run_is_not_retried_by_the_policy_of_its_step_wherever_the_interruption_hits(
    instance: dg.DagsterInstance, hits_before: bool, tries: int
) -> None:
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=5))
    def hang(context: dg.OpExecutionContext) -> None:
        def terminate() -> None:
            context.instance.report_run_canceling(context.run)
            raise KeyboardInterrupt

        if hits_before and context.retry_number == 0:
            terminate()
        with operator_errors(context):
            terminate()

    @dg.job(executor_def=dg.in_process_executor)
    def hanging() -> None:
        hang()

    result = hanging.execute_in_process(instance=instance, raise_on_error=False)
    assert attempts(result) == tries
    run_of_it = instance.get_run_by_id(result.run_id)
    assert run_of_it is not None
    assert run_of_it.status is dg.DagsterRunStatus.CANCELED


@pytest.mark.parametrize("inherited", [{}, {STARTED_BY: COMMAND_LINE, "dagster/code_location": "cmms"}])
def test_an_interruption_that_nobody_wanted_leaves_the_run_to_the_daemon_to_start_again(
    instance: dg.DagsterInstance, inherited: dict[str, str]
) -> None:
    @dg.op(retry_policy=dg.RetryPolicy(max_retries=5))
    def hang(context: dg.OpExecutionContext) -> None:
        with operator_errors(context):
            raise KeyboardInterrupt

    @dg.job(executor_def=dg.in_process_executor)
    def hanging() -> None:
        hang()

    result = hanging.execute_in_process(instance=instance, raise_on_error=False, tags=inherited)
    run_of_it = instance.get_run_by_id(result.run_id)
    assert run_of_it is not None
    assert (attempts(result), run_of_it.status) == (1, dg.DagsterRunStatus.FAILURE)
    assert run_of_it.tags["dagster/retry_on_asset_or_op_failure"] == "true"
