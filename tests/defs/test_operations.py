"""The operator's jobs on a real instance: replay and discard, pause and stop, and a clean-up that leaves the partitions green."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from cmms_pipelines.defs.operations.history import clean_up_history
from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.storage import rejections, sync_log
from cmms_pipelines.storage.tables import api_calls, api_sync_logs, audit_log, sync_controls, sync_rejections, sync_slices
from cmms_pipelines.sync.control import Patience, SyncStoppedError
from cmms_pipelines.sync.session import Slice, SyncSession, sync_session
from tests.conftest import Database
from tests.defs.conftest import run
from tests.storage.readings_world import make_world, reading, stored
from tests.storage.test_rejections import refusal
from tests.storage.test_retention import fill

DAY = date(2013, 10, 28)
EQUIPMENT = dg.AssetKey(["cmms", "equipment"])


def metadata_of(result: dg.ExecuteInProcessResult, node: str) -> dict[str, Any]:
    (event,) = [event for event in result.events_for_node(node) if event.event_type is dg.DagsterEventType.STEP_OUTPUT]
    return {name: value.value for name, value in event.step_output_data.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    return str(failed.step_failure_data.user_failure_data.description)  # type: ignore[union-attr]


def keep(database: Database, *records: dict[str, Any]) -> None:
    rows = [
        refusal("equipment_unknown", key=f"{record['EQUNR']}-{number}", payload=record, equipment_number=record["EQUNR"])
        for number, record in enumerate(records)
    ]
    with database.engine.begin() as connection:
        rejections.store(connection, "running_times", None, pd.DataFrame(rows))


def test_a_replay_shows_in_its_run_what_was_accepted_and_why_the_rest_was_not(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    make_world(database.engine)
    keep(database, reading("B6LG", DAY, 5, 100), reading("B6LG", DAY, 5, 100, number="N9"))
    config = {"ops": {"replay": {"config": {"rules": ["equipment_unknown"], "dry_run": True}}}}
    dry = run(defs, instance, "replay_rejections", run_config=config)
    assert dry.success
    assert metadata_of(dry, "replay")["accepted"] == 1
    assert stored(database.engine) == []
    result = run(defs, instance, "replay_rejections")
    assert result.success
    shown = metadata_of(result, "replay")
    assert {name: shown[name] for name in ("judged", "accepted", "refused", "overtaken", "is_dry_run")} == {
        "judged": 2, "accepted": 1, "refused": 1, "overtaken": 0, "is_dry_run": False,
    }  # fmt: skip
    assert shown["refused_by_rule"] == {"equipment_unknown": 1}
    assert [record.data["rule"] for record in shown["still_refused"].records] == ["equipment_unknown"]
    assert stored(database.engine) == [(5.0, 100.0, 1, "B6LG")]
    (log,) = sync_log.read_of_run(database.engine, result.run_id)
    assert (log["records_processed"], log["records_inserted"], log["records_failed"]) == (2, 1, 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [({"first_day": "31.1.2026"}, "2026-01-31"), ({"sync_types": ["readings"]}, "There is no sync readings")],
)
def test_a_selection_that_cannot_be_read_is_told_and_not_tried_again(
    defs: dg.Definitions, instance: dg.DagsterInstance, config: dict[str, object], message: str
) -> None:
    result = run(defs, instance, "replay_rejections", run_config={"ops": {"replay": {"config": config}}})
    assert not result.success
    assert message in failure_of(result)


def test_a_discard_needs_a_selection_and_keeps_who_and_why(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    keep(database, reading("B6LG", DAY, 5, 100))
    config: dict[str, object] = {"reason": "a test machine", "by": "jane"}
    refused = run(defs, instance, "discard_rejections", run_config={"ops": {"discard": {"config": config}}})
    assert "Say which open records" in failure_of(refused)
    config["equipment"] = ["N526JB"]
    result = run(defs, instance, "discard_rejections", run_config={"ops": {"discard": {"config": config}}})
    assert metadata_of(result, "discard") == {"discarded": 1}
    with database.engine.connect() as connection:
        row = connection.execute(sa.select(sync_rejections)).one()
    assert (row.status, row.resolved_by, row.resolution_reason) == ("discarded", "jane", "a test machine")


def test_pause_and_resume_are_kept_with_who_and_why(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    config = {"ops": {"pause": {"config": {"reason": "moving house", "by": "jane"}}}}
    paused = run(defs, instance, "pause_syncs", run_config=config)
    with database.engine.connect() as connection:
        row = connection.execute(sa.select(sync_controls)).one()
    assert (row.name, row.is_set, row.reason, row.changed_by) == ("pause", True, "moving house", "jane")
    assert run(defs, instance, "resume_syncs").success
    with database.engine.connect() as connection:
        assert connection.scalar(sa.select(sync_controls.c.is_set)) is False
        trail = connection.execute(sa.select(audit_log).order_by("id")).all()
    assert [(row.action, row.actor) for row in trail] == [("syncs_paused", "jane"), ("syncs_resumed", "Dagster UI")]
    assert trail[0].dagster_run_id == paused.run_id


def test_an_emergency_stop_ends_what_runs_and_what_is_queued_and_says_so(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database
) -> None:
    queued = {
        name: instance.create_run_for_job(
            defs.resolve_job_def(name),
            status=dg.DagsterRunStatus.QUEUED,
            remote_job_origin=RemoteJobOrigin(
                RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("cmms"), "__repository__"), name
            ),
        )
        for name in ("sync_equipment", "process_maintenance_events")
    }
    is_inside = threading.Event()

    def work(session: SyncSession, piece: Slice) -> SyncCounts:
        is_inside.set()
        return session.write(piece, SyncCounts(received=1), lambda _connection: SyncCounts(inserted=1))

    def sync() -> None:
        pieces = [Slice((f"P{number}",), DAY) for number in range(100_000)]
        scope = {"plants": "all", "from": "2013-10-28", "to": "2013-10-28"}
        with sync_session(
            database.engine,
            "running_times",
            scope,
            sync_key="elsewhere",
            run_id=None,
            progress=lambda _message: None,
            patience=Patience(poll_s=0.05),
        ) as session:
            session.run_slices(pieces, lambda piece: work(session, piece), max_in_flight=1)

    title = "equipment of B6JF"
    instance.add_dynamic_partitions("plants", ["B6JF"])
    backfill = PartitionBackfill.from_asset_partitions(
        "of-equipment", defs.resolve_asset_graph(), ["B6JF"], [EQUIPMENT], time.time(), {}, instance, False, title, None, None
    )
    instance.add_backfill(backfill)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(sync)
        assert is_inside.wait(20)
        config = {"ops": {"stop": {"config": {"reason": "wrong plant", "by": "jane", "pause": True}}}}
        result = run(defs, instance, "emergency_stop", run_config=config)
        with pytest.raises(SyncStoppedError, match="wrong plant"):
            running.result(20)
    told = result.output_for_node("stop")
    ended = [("sync", "running_times"), ("backfill", title), ("run", "sync_equipment")]
    assert [(one["kind"], one["name"]) for one in told] == ended
    shown = metadata_of(result, "stop")
    assert shown["count"] == 3
    assert [(record.data["kind"], record.data["name"]) for record in shown["stopped"].records] == ended
    lines = " ".join(record.user_message for record in instance.all_logs(result.run_id))
    assert all(f"Stopped {kind} " in lines and f"({name})" in lines for kind, name in ended)
    assert (found := instance.get_backfill("of-equipment"))
    assert found.status is BulkActionStatus.CANCELING
    status = {name: instance.get_run_by_id(one.run_id).status for name, one in queued.items()}  # type: ignore[union-attr]
    assert status == {
        "sync_equipment": dg.DagsterRunStatus.CANCELED,
        "process_maintenance_events": dg.DagsterRunStatus.QUEUED,
    }
    with database.engine.connect() as connection:
        flags = {row.name: row.is_set for row in connection.execute(sa.select(sync_controls))}
        trail = connection.scalars(sa.select(audit_log.c.action).order_by("id")).all()
    assert flags == {"stop": True, "pause": True}
    assert trail == ["syncs_stopped", "syncs_paused"]


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["one", "two"]))
def kept(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """An asset whose partitions must stay green."""
    context.log.info("some line of a log")
    return dg.MaterializeResult(metadata={"rows": 7, "by": context.run.run_id})


@dg.asset_check(asset=kept)
def well() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True, metadata={"figure": 3})


@dg.op
def chat(context: dg.OpExecutionContext) -> None:
    context.log.info("nothing that has to be kept")


@dg.job
def chatting() -> None:
    chat()


HISTORY = dg.Definitions(assets=[kept], asset_checks=[well], jobs=[chatting, dg.define_asset_job("keeping", [kept])])
KEPT = dg.AssetKey("kept")


def event_types(instance: dg.DagsterInstance, run_id: str) -> set[str]:
    return {str(record.dagster_event_type and record.dagster_event_type.value) for record in instance.all_logs(run_id)}


def age(instance: dg.DagsterInstance, *run_ids: str, days: int = 31) -> None:
    with instance.run_storage.connect() as connection:  # type: ignore[attr-defined]
        older = "UPDATE runs SET update_timestamp = update_timestamp - make_interval(days => :days) WHERE run_id = ANY(:ids)"
        connection.execute(sa.text(older), {"ids": list(run_ids), "days": days})


def test_dagsters_history_goes_by_its_age_and_partitions_stay_green(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    first, newest, two, noise, young = (
        run(HISTORY, instance, *given[:1], **given[1])  # type: ignore[misc]
        for given in (
            ("keeping", {"partition_key": "one"}),
            ("keeping", {"partition_key": "one"}),
            ("keeping", {"partition_key": "two"}),
            ("chatting", {}),
            ("chatting", {}),
        )
    )
    for one in (first, newest, two, noise):
        (tmp_path / "storage" / one.run_id).mkdir(parents=True, exist_ok=True)
    age(instance, first.run_id, newest.run_id, two.run_id, noise.run_id)
    events = sum(len(instance.all_logs(one.run_id)) for one in (first, newest, two, noise))
    told: list[str] = []
    removed = clean_up_history(instance, 30, now=datetime.now(UTC), progress=told.append)

    assert instance.get_materialized_partitions(KEPT) == {"one", "two"}
    latest = instance.get_latest_materialization_event(KEPT)
    assert latest is not None
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.metadata["by"].value == two.run_id
    records = instance.fetch_materializations(KEPT, limit=10).records
    assert [record.run_id for record in records] == [two.run_id, newest.run_id, first.run_id]
    assert all(record.asset_materialization.metadata["rows"].value == 7 for record in records if record.asset_materialization)
    checks = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(KEPT, "well"), limit=10)
    assert [check.status.value for check in checks] == ["SUCCEEDED"] * 3

    alive = {one.run_id for one in instance.get_runs()}
    assert alive == {newest.run_id, two.run_id, young.run_id}  # what holds a newest materialization, and what is not old
    assert event_types(instance, newest.run_id) == {
        "ASSET_MATERIALIZATION_PLANNED", "ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION_PLANNED", "ASSET_CHECK_EVALUATION",
    }  # fmt: skip
    assert event_types(instance, noise.run_id) == set()
    assert "RUN_SUCCESS" in event_types(instance, young.run_id) or "PIPELINE_SUCCESS" in event_types(instance, young.run_id)
    left = sum(len(instance.all_logs(one.run_id)) for one in (first, newest, two, noise))
    assert removed == {"dagster_events": events - left, "dagster_runs": 2, "dagster_compute_logs": 4}
    assert not [one for one in (first, newest, two, noise) if (tmp_path / "storage" / one.run_id).exists()]
    assert told == ["went through 4 of 4 old runs"]

    again = clean_up_history(instance, 30, now=datetime.now(UTC) - timedelta(days=60), progress=told.append)
    assert set(again.values()) == {0}
    rerun = run(HISTORY, instance, "keeping", partition_key="one")
    assert rerun.success
    assert instance.get_materialized_partitions(KEPT) == {"one", "two"}


def test_the_clean_up_removes_what_is_older_than_the_configured_ages_and_says_how_much_of_what(
    defs: dg.Definitions, instance: dg.DagsterInstance, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_KEEP_LOGS_DAYS", "10")
    monkeypatch.setenv("CMMS_KEEP_RUNS_DAYS", "5")
    for days in (11, 9):
        fill(database, days)
    old, young = (run(HISTORY, instance, "chatting") for _ in range(2))
    age(instance, old.run_id, days=6)
    age(instance, young.run_id, days=4)
    events = len(instance.all_logs(old.run_id))

    result = run(defs, instance, "clean_up_logs")
    assert result.success
    ours = {"api_calls": 2, "sync_slices": 2, "sync_rejections": 1, "api_sync_logs": 1}
    removed = {**ours, "dagster_events": events, "dagster_runs": 1, "dagster_compute_logs": 1}
    metadata = metadata_of(result, "clean_up")
    assert {name: count for name, count in metadata.items() if count} == {f"removed_from_{k}": v for k, v in removed.items()}
    (told,) = [one.user_message for one in instance.all_logs(result.run_id) if one.user_message.startswith("Removed ")]
    assert {f"{count} from {what}" for what, count in removed.items()} <= set(told.removeprefix("Removed ").split(", "))
    (log,) = sync_log.read_of_run(database.engine, result.run_id)
    assert {name: count for name, count in log["scope"]["removed"].items() if count} == removed

    with database.engine.connect() as connection:
        left = {
            table.name: connection.scalar(sa.select(sa.func.count()).select_from(table))
            for table in (api_calls, sync_slices, sync_rejections, api_sync_logs)
        }
        kept = connection.scalars(sa.select(sync_rejections.c.record_key).order_by("id")).all()
    assert left == {"api_calls": 2, "sync_slices": 2, "sync_rejections": 3, "api_sync_logs": 4}
    assert kept == ["11-True", "9-False", "9-True"]
    assert {one.run_id for one in instance.get_runs()} == {young.run_id, result.run_id}
    assert (event_types(instance, old.run_id), len(event_types(instance, young.run_id)) > 0) == (set(), True)
