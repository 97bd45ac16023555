"""The log of syncs: its figures are those of the slices that were written, whoever wrote them and whatever died."""

from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa

from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.reports import SyncCounts, SyncStatus
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.tables import api_calls, sync_slices
from tests.conftest import Database

COUNTS = SyncCounts(received=10, inserted=5, updated=1, unchanged=1, merged=1, refused=2, warned=3)
DAY = date(2013, 10, 28)


def begin(database: Database, run_id: str | None = "run-1") -> sync_log.SyncLog:
    with database.engine.begin() as connection:
        return sync_log.insert_log(connection, "running_times", {"plants": "all"}, "running_times:run-1", run_id)


def write_slice(database: Database, log: sync_log.SyncLog, key: str = "2013-10-28|B6LG") -> bool:
    with database.engine.begin() as connection:
        sync_log.add_counts(connection, log, COUNTS)
        return sync_log.mark_slice_done(connection, log, key, day=DAY, plant_codes=["B6LG"], counts=COUNTS)


def test_a_sync_runs_from_its_beginning_to_its_end_with_the_sums_of_its_slices(database: Database) -> None:
    log = begin(database)
    row = sync_log.read(database.engine, log.id)
    assert (row["status"], row["scope"], row["sync_completed_at"]) == ("running", {"plants": "all"}, None)
    assert write_slice(database, log)
    assert write_slice(database, log, "2013-10-28|B6JF")
    sync_log.finish(database.engine, log, SyncStatus.PARTIAL, stage_seconds={"fetch": 1.23456}, error_message="one slice failed")
    row = sync_log.read(database.engine, log.id)
    figures = {name.removeprefix("records_"): value for name, value in row.items() if name.startswith("records_")}
    assert figures == {
        "processed": 20, "success": 16, "failed": 4, "inserted": 10, "updated": 2, "unchanged": 2, "merged": 2, "warned": 6,
    }  # fmt: skip
    assert (row["status"], row["error_message"], row["stage_seconds"]) == ("partial", "one slice failed", {"fetch": 1.235})
    assert row["sync_completed_at"] >= row["sync_started_at"]


def test_figures_that_do_not_add_up_never_reach_the_log(database: Database) -> None:
    log = begin(database)
    with pytest.raises(sa.exc.IntegrityError, match="every_record_accounted_for"), database.engine.begin() as connection:
        sync_log.add_counts(connection, log, SyncCounts(received=3, inserted=1, refused=1))
    assert sync_log.read(database.engine, log.id)["records_processed"] == 0


def test_a_slice_enters_the_ledger_once_and_another_attempt_learns_that_it_is_done(database: Database) -> None:
    first, second = begin(database), begin(database, "run-2")
    assert write_slice(database, first)
    assert not write_slice(database, second)
    assert sync_log.done_slices(database.engine, "running_times:run-1") == {"2013-10-28|B6LG"}
    assert sync_log.done_slices(database.engine, "running_times:run-3") == set()
    with database.engine.connect() as connection:
        row = connection.execute(sa.select(sync_slices)).one()
    assert (row.sync_log_id, row.date, row.plant_codes, row.counts["records_merged"]) == (first.id, DAY, ["B6LG"], 1)


def test_the_logs_of_a_run_are_found_by_its_id_oldest_first(database: Database) -> None:
    logs = [begin(database, "a"), begin(database, "b"), begin(database, "a")]
    assert [row["id"] for row in sync_log.read_of_run(database.engine, "a")] == [logs[0].id, logs[2].id]


def test_every_external_request_is_kept_with_its_sync(database: Database) -> None:
    log = begin(database)
    call = ApiCall("equipments/jam-jalan", "GET", 429, 3, 1234.5, 99, 0, "throttled", datetime(2026, 3, 15, tzinfo=UTC))
    sync_log.record_calls(database.engine, log, [call, call])
    sync_log.record_calls(database.engine, log, [])
    with database.engine.connect() as connection:
        rows = connection.execute(sa.select(api_calls)).all()
    assert [(row.sync_log_id, row.dagster_run_id, row.status, row.attempts, row.error) for row in rows] == [
        (log.id, "run-1", 429, 3, "throttled")
    ] * 2
