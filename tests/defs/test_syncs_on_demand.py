"""Sync now, backfill and retry as an operator starts them from the launchpad, on real data."""

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from cmms_pipelines.clients.odata import V4
from cmms_pipelines.storage.tables import api_sync_logs, equipment, equipment_running_times, plants, sync_rejections, sync_slices
from tests.conftest import Database
from tests.defs.conftest import run
from tests.emulator_server import running_emulator
from tests.storage.inbox_world import query, work_order
from tests.sync.flown import Flown
from tests.sync.tables import hours_by_machine_and_day

HOURS = dg.AssetKey(["cmms", "equipment_running_times"])
Start = Callable[..., dg.ExecuteInProcessResult]


@pytest.fixture
def start(defs: dg.Definitions, instance: dg.DagsterInstance) -> Start:
    ops = {"sync_now": "sync_on_demand", "backfill_running_times": "backfill_days", "retry_failed": "retry_what_failed"}

    def started(job: str, **config: Any) -> dg.ExecuteInProcessResult:  # noqa: ANN401 - any field of the launchpad
        run_config = {"ops": {ops[job]: {"config": config}}} if job in ops else {}
        return run(defs, instance, job, run_config=run_config)

    return started


def count(database: Database, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> int:
    with database.engine.connect() as connection:
        return connection.scalar(sa.select(sa.func.count()).select_from(table).where(*conditions)) or 0


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failure,) = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    return str(failure.user_failure_data.description)  # type: ignore[union-attr]


def output(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    assert result.success
    metadata = next(event.step_output_data.metadata for event in result.all_events if event.is_successful_output)
    return {name: getattr(value, "records", None) or value.value for name, value in metadata.items()}


def test_plants_machines_and_days_are_synced_now_and_a_range_is_backfilled(
    start: Start, instance: dg.DagsterInstance, database: Database
) -> None:
    assert start("sync_plants").success
    named = {"plants": ["B6JF"], "first_day": "2013-01-01"}
    wrong = start("sync_now", **{**named, "plants": ["B6JX"]})
    assert "B6JF" in failure_of(wrong)  # did you mean
    assert start("sync_now", **named).success
    machines = count(database, equipment)
    assert machines > 0
    day = equipment_running_times.c.date == sa.cast("2013-01-01", sa.Date)
    readings = count(database, equipment_running_times, day)
    assert readings > 0
    assert instance.get_materialized_partitions(HOURS) == {"2013-01-01"}
    assert count(database, equipment_running_times) == readings
    days = {"plants": ["B6JF"], "first_day": "2013-01-01", "last_day": "2013-01-03"}
    told = output(start("backfill_running_times", **days, dry_run=True))
    assert (told["days"], told["days_without_reading"]) == (3, ["2013-01-02", "2013-01-03"])
    assert "more than most_days" in failure_of(start("backfill_running_times", **days, most_days=2))
    assert start("backfill_running_times", **days).success
    assert instance.get_materialized_partitions(HOURS) == {"2013-01-01", "2013-01-02", "2013-01-03"}
    assert count(database, equipment_running_times, day) == readings
    assert "is not within" in failure_of(start("backfill_running_times", first_day="2013-01-01", last_day="2999-01-01"))
    assert "is no day" in failure_of(start("sync_now", first_day="yesterday"))
    assert "There is no sync masters" in failure_of(start("sync_now", what=["masters"]))


def test_masters_and_hours_of_one_run_ask_an_odata_source_for_its_measuring_points_once(
    start: Start, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_emulator(dialect="odata_v4", page_size=10_000) as server:
        monkeypatch.setenv("CMMS_API_URL", server.url)
        monkeypatch.setenv("CMMS_API_DIALECT", "odata_v4")
        assert start("sync_plants").success
        assert start("sync_now", plants=["B6JF"], first_day="2013-01-01").success
        assert server.stats()["endpoints"][f"/{V4.points}"] == 1
    assert count(database, equipment) > 0
    assert count(database, equipment_running_times) > 0


def test_machines_are_synced_now_and_backfilled_by_their_numbers(start: Start, database: Database, flown: Flown) -> None:
    machine, last = "N637JB", date(2013, 10, 30)
    days = [last - timedelta(days=back) for back in range(3)]
    flew = {key: hours for key, hours in flown.expected(*days).items() if key[0] == machine}
    assert len(flew) > 1
    assert start("sync_plants").success
    assert start("sync_now", equipment=[machine], first_day=str(last)).success
    assert hours_by_machine_and_day(database.engine) == pytest.approx({(machine, last): flew[machine, last]}, abs=1e-4)
    assert count(database, equipment) == 1
    unknown = failure_of(start("backfill_running_times", equipment=["N637JX"], first_day=str(last), last_day=str(last)))
    assert unknown.startswith("Unknown equipment number N637JX: nothing was synced")
    assert start("backfill_running_times", equipment=[machine], first_day=str(days[-1]), last_day=str(last)).success
    assert hours_by_machine_and_day(database.engine) == pytest.approx(flew, abs=1e-4)
    table = api_sync_logs.c
    with database.engine.connect() as connection:
        scopes = connection.scalars(sa.select(table.scope).where(table.sync_type != "plants").order_by(table.id)).all()
    shared = {"plants": "all", "equipment": [machine]}
    assert scopes == [shared, {**shared, "from": str(last), "to": str(last)}, {**shared, "from": str(days[-1]), "to": str(last)}]


def test_what_failed_is_shown_then_done_again_with_its_missing_slices_alone(
    start: Start, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start("sync_plants").success
    monkeypatch.setenv("CMMS_API_PLANTS_PER_CALL", "1")
    days = {"first_day": "2013-01-01", "last_day": "2013-01-02", "what": ["running_times"], "plants": ["B6JF", "B6LG"]}
    with monkeypatch.context() as away:
        away.setenv("CMMS_API_TOKEN", "not-the-one")
        assert not start("sync_now", **days).success
    told = output(start("retry_failed"))
    assert (told["is_dry_run"], told["syncs"], told["events"]) == (True, 1, 0)
    (row,) = [record.data for record in told["failed_syncs"]]
    assert row["sync_type"] == "running_times"
    assert "401" in row["error"]
    assert count(database, sync_slices, sync_slices.c.sync_type == "running_times") == 0
    again = output(start("retry_failed", dry_run=False))
    assert (again["syncs"], again["failed_syncs_left"]) == (1, 0)
    assert count(database, equipment_running_times) + count(database, sync_slices) > 0
    with database.engine.connect() as connection:
        newest = sa.select(api_sync_logs.c.status, api_sync_logs.c.scope).order_by(api_sync_logs.c.id.desc()).limit(1)
        status, scope = connection.execute(newest).one()
    assert status in ("success", "partial")
    assert scope["plants"] == ["B6JF", "B6LG"]
    assert output(start("retry_failed"))["syncs"] == 0  # made good


def test_dead_letters_are_put_back_and_refused_records_judged_again_once_told_to(start: Start, database: Database) -> None:
    assert start("sync_plants").success
    assert start("sync_now", what=["running_times"], plants=["B6JF"], first_day="2013-01-01").success
    waiting = sync_rejections.c.status == "open"
    orphans = count(database, sync_rejections, waiting)
    assert orphans > 1
    with database.engine.begin() as connection:
        payload = sa.select(sync_rejections.c.equipment_number).where(waiting).order_by(sync_rejections.c.id).limit(1)
        plant = sa.select(plants.c.id, sa.literal(connection.scalar(payload)).label("number")).where(
            plants.c.plant_code == "B6JF"
        )
        connection.execute(sa.insert(equipment).from_select(["plant_id", "equipment_number"], plant))
    work_order(database.url, "70", title="A")
    query(database.url, "UPDATE cmms.maintenance_event_hooks SET processing_status = 'dead_letter', processed_at = now()")
    wanted = {"syncs": False, "rejections": True}
    told = output(start("retry_failed", **wanted))
    assert (told["is_dry_run"], told["events"], told["records"], told["records_judged"]) == (True, 1, 1, orphans)
    assert (count(database, sync_rejections, waiting), count(database, equipment_running_times)) == (orphans, 0)
    done = output(start("retry_failed", **wanted, dry_run=False, by="Ada"))
    assert (done["events"], done["records"], done["records_still_refused"]) == (1, 1, orphans - 1)
    assert (count(database, sync_rejections, waiting), count(database, equipment_running_times)) == (orphans - 1, 1)
    assert query(database.url, "SELECT processing_status FROM cmms.maintenance_event_hooks") == [("pending",)]
    assert query(database.url, "SELECT actor FROM cmms.audit_log WHERE action = 'event.replayed'") == [("Ada",)]
