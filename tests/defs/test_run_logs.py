"""What a real sync leaves in `logs/runs.jsonl`: whose run, which plants, day and slice; and no secret."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.log_context import bound, bound_fields, carried
from cmms_pipelines.settings import read_settings
from cmms_pipelines.sync.ahead import Ahead, InTurn
from tests.conftest import Database
from tests.dagster_instances import instance_on
from tests.defs.conftest import run
from tests.emulator_server import Emulator

CANARY = "canary-9c40e2-secret"
DAY = date(2013, 1, 1)
LOGGED = """
python_logs:
  dagster_handler_config:
    handlers:
      runs:
        class: cmms_pipelines.logs.RunLog
        level: INFO
"""


@pytest.fixture
def logging_instance(dagster_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    with instance_on(dagster_database, tmp_path, LOGGED) as found:
        yield found


def lines(home: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (home / "logs" / "runs.jsonl").read_text().splitlines()]


def test_lines_of_a_sync_say_run_plants_day_and_slice_and_no_secret(
    logging_instance: dg.DagsterInstance,
    emulator: Emulator,
    database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CMMS_API_URL", emulator.url)
    monkeypatch.setenv("CMMS_API_TOKEN", emulator.token)
    monkeypatch.setenv("CMMS_SECRET_KEY", f"{CANARY}-key")
    monkeypatch.setenv("CMMS_SYNC_PLANTS_PER_SLICE", "20")
    defs = build_defs(read_settings(), {"warehouse": Warehouse(database_url=database.url)})
    assert run(defs, logging_instance, "sync_plants").success
    result = run(defs, logging_instance, "sync_running_times", partition_key=DAY.isoformat())
    assert result.success
    found = [line for line in lines(tmp_path) if line.get("run_id") == result.run_id and line.get("sync_type") == "running_times"]
    told = [line for line in found if line["event"].startswith("slice ")]
    assert len(told) == 2  # 35 plants, 20 a slice
    assert {line["job"] for line in told} == {"sync_running_times"}
    assert {line["day"] for line in told} == {DAY.isoformat()}
    assert all(line["slice"] == f"{DAY}|{','.join(line['plants'])}" for line in told)
    assert sorted(len(line["plants"]) for line in told) == [15, 20]
    assert {line["sync_log_id"] for line in found} == {told[0]["sync_log_id"]}
    monkeypatch.setenv("CMMS_API_TOKEN", f"{CANARY}-token")
    assert not run(defs, logging_instance, "sync_plants").success
    text = (tmp_path / "logs" / "runs.jsonl").read_text()
    (reason,) = {line["reason"] for line in lines(tmp_path) if "reason" in line}
    assert "status 401" in reason
    assert CANARY not in text
    assert emulator.token not in text


def test_fields_go_with_the_work_into_other_threads_and_end_with_their_block() -> None:
    def see(_key: object = None) -> dict[str, object]:
        return dict(bound_fields())

    with bound(sync_type="equipment", day=None):
        with bound(slice="B6JF"):
            kept = carried(see)
            with InTurn(["one"], see, lambda _: None, depth=1) as ahead:
                in_turn = ahead.take("one")
            with Ahead(map(see, [1])) as made:
                (in_ahead,) = made
        assert see() == {"sync_type": "equipment"}
    assert kept() == in_turn == in_ahead == {"sync_type": "equipment", "slice": "B6JF"}
    assert see() == {}
