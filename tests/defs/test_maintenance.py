"""The sensor starts a drain exactly where one is needed, and the run of it tells what it did."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from cmms_pipelines.defs.maintenance.assets import NO_DEAD_LETTERS, WORK_ORDERS
from cmms_pipelines.defs.maintenance.decisions import STARTING_S, DrainRuns, decide
from cmms_pipelines.defs.maintenance.definitions import build
from cmms_pipelines.defs.maintenance.jobs import PROCESS_MAINTENANCE_EVENTS
from cmms_pipelines.defs.maintenance.sensors import drain_runs, maintenance_inbox_sensor, watch_inbox
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.storage.drain import DrainReport, drain
from cmms_pipelines.storage.drain_turns import DrainState
from cmms_pipelines.storage.inbox_peek import InboxWatch, shared_watch, tell_watchers_to_stop
from tests.conftest import Database
from tests.dagster_instances import instance_on
from tests.storage.inbox_world import drain_now, order_row, send, work_order

ABSENT, WORKING, LEAVING, HANDING_OVER = DrainState.ABSENT, DrainState.WORKING, DrainState.LEAVING, DrainState.HANDING_OVER
NO_RUNS, QUEUED = DrainRuns(0, ()), DrainRuns(1, ())
YOUNG, OLD, OLD_AND_YOUNG = DrainRuns(0, (1.0,)), DrainRuns(0, (STARTING_S + 1,)), DrainRuns(0, (STARTING_S + 1, 1.0))


@pytest.fixture
def instance(dagster_database: str, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance that stores its runs and events in PostgreSQL."""
    with instance_on(dagster_database, tmp_path) as found:
        yield found


@pytest.fixture
def watch(database: Database) -> Iterator[InboxWatch]:
    """A watch on the inbox of the test's own database."""
    opened = InboxWatch(database.url)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("has_due", "drain_state", "runs", "starts"),
    [
        (False, ABSENT, NO_RUNS, False),
        (True, ABSENT, NO_RUNS, True),
        (True, ABSENT, QUEUED, False),
        (True, ABSENT, YOUNG, False),
        (True, ABSENT, OLD, True),
        (True, WORKING, NO_RUNS, False),
        (True, LEAVING, OLD, True),
        (False, LEAVING, OLD, True),
        (True, LEAVING, QUEUED, False),
        (True, LEAVING, OLD_AND_YOUNG, False),
        (True, HANDING_OVER, OLD_AND_YOUNG, False),
    ],
)
def test_a_drain_is_started_where_nobody_is_or_will_be_at_work(
    has_due: bool, drain_state: DrainState, runs: DrainRuns, starts: bool
) -> None:
    assert decide(has_due, drain_state, runs).start is starts


def test_a_run_drains_the_inbox_and_its_materialization_says_what_it_did(
    database: Database, instance: dg.DagsterInstance
) -> None:
    work_order(database.url, type="created", title="250 h inspection")
    work_order(database.url, "2", status="exploded")
    job = _definitions(database).resolve_job_def(PROCESS_MAINTENANCE_EVENTS)
    config = {"ops": {WORK_ORDERS.to_python_identifier(): {"config": {"idle_s": 0.0, "max_s": 20.0}}}}
    result = job.execute_in_process(instance=instance, run_config=config)
    assert result.success
    metadata = {
        name: value.value
        for name, value in result.asset_materializations_for_node(WORK_ORDERS.to_python_identifier())[0].metadata.items()
    }
    assert (metadata["events_claimed"], metadata["events_applied"], metadata["events_dead"]) == (2, 1, 1)
    assert metadata["events_by_type"] == {"work_order_created": 1, "work_order_updated": 1}
    assert "latency_max_ms" in metadata
    assert order_row(database.url)["title"] == "250 h inspection"
    assert [record.data["title"] for record in metadata["preview"].records] == ["250 h inspection"]  # type: ignore[attr-defined]
    check = result.get_asset_check_evaluations()[0]
    assert (check.check_name, check.passed, check.metadata["dead_letters"].value) == (NO_DEAD_LETTERS, False, 1)


def test_the_sensor_asks_for_a_run_and_never_uses_a_key_again(database: Database, instance: dg.DagsterInstance) -> None:
    work_order(database.url, title="A")
    keys, cursor = set(), None
    for _ in range(3):
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, resources={"warehouse": Warehouse(database_url=database.url)}
        )
        result = maintenance_inbox_sensor(context)
        assert isinstance(result, dg.SensorResult)
        assert result.run_requests is not None
        keys.add(result.run_requests[0].run_key)
    assert len(keys) == 3
    shared_watch(database.url).close()


def test_an_event_wakes_a_waiting_sensor(database: Database, instance: dg.DagsterInstance, watch: InboxWatch) -> None:
    sender = threading.Timer(0.5, work_order, (database.url,), {"title": "A"})
    sender.start()
    started = time.monotonic()
    decision, inbox = watch_inbox(watch, instance, wait_s=4.0)
    sender.join()
    assert decision.start
    assert inbox.newest_sequence == 1
    assert 0.4 < time.monotonic() - started < 2.0


def test_the_sensor_ends_its_tick_in_time_when_nothing_comes(instance: dg.DagsterInstance, watch: InboxWatch) -> None:
    started = time.monotonic()
    decision, _ = watch_inbox(watch, instance, wait_s=0.5)
    assert (decision.start, decision.reason) == (False, "Nothing is due.")
    assert time.monotonic() - started < 1.0


def test_a_retry_that_becomes_due_is_noticed_although_nobody_tells(
    database: Database, instance: dg.DagsterInstance, watch: InboxWatch
) -> None:
    work_order(database.url, title="A")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now() + interval '0.5 s'")
    assert watch_inbox(watch, instance, wait_s=10.0)[0].start


def test_a_tick_ends_when_watchers_are_told_to_stop(database: Database, instance: dg.DagsterInstance, watch: InboxWatch) -> None:
    watch.look()
    stop = threading.Timer(0.3, tell_watchers_to_stop, (database.url,))
    stop.start()
    started = time.monotonic()
    assert not watch_inbox(watch, instance, wait_s=30.0)[0].start
    stop.join()
    assert time.monotonic() - started < 15.0


def test_telling_watchers_to_stop_needs_no_database() -> None:
    tell_watchers_to_stop("postgresql://nobody@127.0.0.1:1/none")


def test_the_sensor_leaves_the_events_to_a_drain_at_work_and_starts_the_next_when_that_one_leaves(
    database: Database, instance: dg.DagsterInstance, watch: InboxWatch
) -> None:
    reports: list[DrainReport] = []
    thread = threading.Thread(target=lambda: reports.append(drain(database.url, idle_s=30, max_s=3.0, grace_s=3.0)))
    thread.start()
    while watch.look().drain is not WORKING:
        assert thread.is_alive()
        time.sleep(0.02)
    work_order(database.url, title="A")
    early, _ = watch_inbox(watch, instance, wait_s=0.3)
    assert early.reason == "A drain is at work."
    late, _ = watch_inbox(watch, instance, wait_s=6.0)
    thread.join()
    assert late.reason == "The drain at work is at the end of its life."
    assert reports[0].applied == 1


def test_a_drain_that_is_about_to_start_is_waited_for_and_a_dead_one_is_replaced(
    database: Database, instance: dg.DagsterInstance, watch: InboxWatch
) -> None:
    work_order(database.url, title="A")
    run = create_run_for_test(instance, job_name=PROCESS_MAINTENANCE_EVENTS, status=dg.DagsterRunStatus.STARTING)
    assert drain_runs(instance).waiting == 1
    assert watch_inbox(watch, instance, wait_s=0.3)[0].reason == "A drain is about to start."
    instance.report_run_canceled(run)
    assert watch_inbox(watch, instance, wait_s=0.3)[0].start


def test_events_that_wait_for_their_next_attempt_or_for_a_machine_start_no_run(
    database: Database, instance: dg.DagsterInstance, watch: InboxWatch
) -> None:
    work_order(database.url, title="A")
    work_order(database.url, title="B")
    send(database.url, "asset_updated", {"equipment_number": "N999ZZ", "name": "unknown"})
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now() + interval '1 h' WHERE sequence = 1"
        )
    assert drain_now(database.url).held == 1
    assert not watch_inbox(watch, instance, wait_s=0.2)[0].start


def test_a_watch_finds_its_way_back_after_its_connection_is_lost(database: Database, watch: InboxWatch) -> None:
    assert watch.look().drain is ABSENT
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cmms-inbox-watch'"
            " AND datname = current_database()"
        )
    assert watch.look().has_due is False


def test_the_definitions_load_without_what_a_run_of_events_does_not_need() -> None:
    code = (
        "import sys, cmms_pipelines.defs.maintenance.definitions as d; d.build('UTC');"
        "print([name for name in ('pandas', 'pandera', 'dagster_dbt', 'httpx', 'pyarrow') if name in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


def test_every_asset_of_the_domain_tells_its_story() -> None:
    definitions = dg.Definitions.merge(
        build("UTC"), dg.Definitions(resources={"warehouse": Warehouse(), "source_system": SourceSystem()})
    )
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    assert sorted(specs) == [
        "cmms/dead_letters", "cmms/equipment", "cmms/maintenance_event_hooks", "cmms/sync_conflicts", "cmms/work_orders",
    ]  # fmt: skip
    for spec in (spec for name, spec in specs.items() if name != "cmms/equipment"):  # that one is only named here
        assert (spec.group_name, list(spec.owners)) == ("maintenance", ["team:maintenance-data"])
        assert spec.kinds
        assert {"dagster/column_schema", "dagster/table_name"} <= set(spec.metadata)
        assert spec.description


def _definitions(database: Database) -> dg.Definitions:
    return dg.Definitions.merge(
        build("UTC"),
        dg.Definitions(resources={"warehouse": Warehouse(database_url=database.url), "source_system": SourceSystem()}),
    )
