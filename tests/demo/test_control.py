"""Runs of the real stack that are cancelled in the UI or killed: the log tells the truth, the pool is free, the rest is done."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from psycopg.rows import dict_row

from cmms_pipelines.defs.running import range_tags
from cmms_pipelines.operate.dagster_api import ENDED, DagsterApi, Run, RunStatus
from cmms_pipelines.storage import embedded
from tests.demo.conftest import TwoStarts

YEAR = datetime.now(UTC).year - 1  # the demo's partitions begin with it
TAGS = {"cmms/test": "control"}
DAYS = range_tags(f"{YEAR}-01-01", f"{YEAR}-12-31") | TAGS
_PROCESS = """
query Process($run: ID!) { logsForRun(runId: $run) { ... on EventConnection { events {
  ... on EngineEvent { metadataEntries { label ... on TextMetadataEntry { text } ... on IntMetadataEntry { intRepr } } } } } } }
"""

_BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) { __typename
  ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""
_STATUS = "query Status($id: String!) { partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } } }"


def until(condition: Callable[[], Any], what: str, seconds: float = 120) -> Any:  # noqa: ANN401 - what the condition finds
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    raise AssertionError(f"{what} did not come about")


class Stack:
    """The running demo: its web server and its database."""

    def __init__(self, demo: TwoStarts, dagster: DagsterApi) -> None:
        self.dagster = dagster
        self.address = demo.second["addresses"]["dagster"]
        server = embedded.find_running(demo.home)
        assert server is not None
        self.database = server.url("cmms")

    def log(self, run_id: str) -> dict[str, Any] | None:
        with psycopg.connect(self.database, row_factory=dict_row) as connection:
            query = "SELECT * FROM cmms.api_sync_logs WHERE dagster_run_id = %s AND sync_type = 'running_times'"
            return connection.execute(query, (run_id,)).fetchone()

    def slices(self, sync_key: str) -> list[str]:
        with psycopg.connect(self.database) as connection:
            query = "SELECT slice_key FROM cmms.sync_slices WHERE sync_key = %s"
            return [row[0] for row in connection.execute(query, (sync_key,))]

    def launched(self) -> str:
        """A sync of a year that has written a few slices."""
        run_id = self.dagster.launch("sync_running_times", DAYS)
        until(lambda: (self.log(run_id) or {}).get("slices_done", 0) >= 2, "the first slices")
        return run_id

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        reply = httpx.post(f"{self.address}/graphql", json={"query": query, "variables": variables}, timeout=30).json()
        assert "errors" not in reply, reply
        answer: dict[str, Any] = reply["data"]
        return answer

    def process_of(self, run_id: str) -> int:
        events = self.ask(_PROCESS, run=run_id)["logsForRun"]["events"]
        entries = [entry for event in events for entry in event.get("metadataEntries", [])]
        (found, *_) = [entry.get("text") or entry.get("intRepr") for entry in entries if entry["label"] == "pid"]
        return int(found)

    def newest(self) -> Run:
        return self.dagster.runs(limit=1, tags=[{"key": "cmms/test", "value": "control"}])[0]

    def is_ended(self, run_id: str, status: RunStatus) -> bool:
        return self.dagster.run(run_id).status is status


@pytest.fixture
def stack(demo: TwoStarts) -> Any:  # noqa: ANN401 - a generator fixture
    with DagsterApi(demo.second["addresses"]["dagster"]) as dagster:
        found = Stack(demo, dagster)
        yield found
        dagster.terminate([found.newest().run_id])


def test_a_run_that_is_terminated_in_the_ui_is_cancelled_everywhere_and_its_pool_is_free(stack: Stack) -> None:
    run_id = stack.launched()
    stack.dagster.terminate([run_id])
    until(lambda: stack.is_ended(run_id, RunStatus.CANCELED), "the cancelled run", 30)
    log = stack.log(run_id)
    assert log is not None
    assert (log["status"], log["slices_done"]) == ("cancelled", len(stack.slices(f"running_times:{run_id}")))
    assert 2 <= log["slices_done"] < log["slices_total"]
    free = stack.dagster.launch("sync_plants", TAGS)
    until(lambda: stack.is_ended(free, RunStatus.SUCCESS), "another sync of the pool")


def test_a_run_whose_process_is_killed_is_retried_and_goes_on_where_it_was(stack: Stack) -> None:
    run_id = stack.launched()
    os.kill(stack.process_of(run_id), signal.SIGKILL)
    until(lambda: stack.is_ended(run_id, RunStatus.FAILURE), "the end of the killed run")
    done = len(stack.slices(f"running_times:{run_id}"))
    retry = until(lambda: stack.newest().run_id != run_id and stack.newest().run_id, "the retry")
    log = until(lambda: (found := stack.log(retry)) and found["slices_done"] >= 1 and found, "the retry's first slice")
    assert log["slices_total"] in {365, 366}
    killed = stack.log(run_id)
    assert killed is not None
    assert (killed["status"], killed["slices_done"]) == ("failed", done)
    assert "was killed" in killed["error_message"]
    keys = stack.slices(f"running_times:{run_id}")
    assert len(keys) == len(set(keys)) > done
    stack.dagster.terminate([retry])
    until(lambda: stack.is_ended(retry, RunStatus.CANCELED), "the cancelled retry", 30)


def test_a_backfill_of_more_days_than_one_run_takes_is_several_runs_and_an_emergency_stop_ends_all_of_it(stack: Stack) -> None:
    first = date(YEAR, 3, 1)
    days = [(first + timedelta(days=offset)).isoformat() for offset in range(40)]
    params = {
        "assetSelection": [{"path": ["cmms", "equipment_running_times"]}],
        "partitionNames": days,
        "tags": [{"key": "cmms/test", "value": "control"}],
    }
    launched = stack.ask(_BACKFILL, params=params)["launchPartitionBackfill"]
    backfill = launched["backfillId"]
    tags = [{"key": "dagster/backfill", "value": backfill}]
    runs = until(lambda: len(found := stack.dagster.runs(tags=tags)) == 2 and found, "two runs of the backfill")
    stop = stack.dagster.launch("emergency_stop", TAGS, {"ops": {"stop": {"config": {"reason": "wrong year", "by": "jane"}}}})
    until(lambda: stack.is_ended(stop, RunStatus.SUCCESS), "the emergency stop")
    until(lambda: all(stack.dagster.run(run.run_id).status in ENDED for run in runs), "the end of its runs", 60)
    until(lambda: stack.ask(_STATUS, id=backfill)["partitionBackfillOrError"]["status"] == "CANCELED", "the cancelled backfill")
    assert len(stack.dagster.runs(tags=tags)) == 2
    assert RunStatus.CANCELED in {stack.dagster.run(run.run_id).status for run in runs}
