"""Logs are JSON lines without secrets, in a file that several writers share and that is moved on when it is full."""

import json
import logging
from pathlib import Path

import pytest

from cmms_pipelines.logs import JsonLine, RotatingLog, RunLog


def record(text: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("cmms_pipelines.x", logging.INFO, __file__, 1, text, (), None)
    made.__dict__.update(extra)
    return made


def test_a_line_says_event_level_time_and_whose_run_it_is() -> None:
    meta = {"run_id": "r1", "job_name": "sync_equipment", "step_key": None, "orig_message": "slice 1 of 2"}
    line = json.loads(JsonLine().format(record("sync_equipment - r1 - slice 1 of 2", dagster_meta=meta)))
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "slice 1 of 2",
        "level": "info",
        "logger": "cmms_pipelines.x",
        "run_id": "r1",
        "job": "sync_equipment",
    }


def test_no_password_of_an_address_reaches_a_line() -> None:
    line = JsonLine().format(record({"event": "no", "url": "postgresql://cmms:hunter2@db:5432/cmms"}))
    assert "hunter2" not in line
    assert json.loads(line)["url"] == "postgresql://cmms:***@db:5432/cmms"


def test_two_writers_move_a_full_file_on_and_lose_no_line(tmp_path: Path) -> None:
    writers = [RotatingLog(tmp_path / "logs" / "a.jsonl", largest_bytes=400, kept=50) for _ in range(2)]
    for writer in writers:
        writer.setFormatter(JsonLine())
    for number in range(40):
        writers[number % 2].emit(record({"event": number}))
    for writer in writers:
        writer.close()
    files = [path for path in (tmp_path / "logs").iterdir() if path.suffix != ".lock"]
    lines = [json.loads(line)["event"] for path in files for line in path.read_text().splitlines()]
    assert (sorted(lines), len(files) > 5) == (list(range(40)), True)
    assert all(path.stat().st_size < 700 for path in files)


def test_runs_write_beside_the_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    log = RunLog()
    log.emit(record("hello"))
    log.close()
    assert json.loads((tmp_path / "logs" / "runs.jsonl").read_text())["event"] == "hello"
