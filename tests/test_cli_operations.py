"""The operator's commands: quarantine, pause, stop, and a sync, as a process of its own, that is told to end."""

import csv
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from cmms_pipelines.storage import rejections
from cmms_pipelines.storage.tables import api_sync_logs, audit_log, sync_slices
from tests.command_line import CommandLine, on_databases
from tests.conftest import Database
from tests.dagster_instances import instance_on
from tests.emulator_server import Emulator, running_emulator
from tests.storage.readings_world import make_world, reading, stored
from tests.storage.test_rejections import also, refusal
from tests.sync.conftest import Source, settings_for

DAY = date(2013, 10, 28)


@pytest.fixture(scope="module")
def slow_emulator() -> Iterator[Emulator]:
    with running_emulator(latency_ms=150) as server:
        yield server


@pytest.fixture
def cmms(database: Database, dagster_database: str, tmp_path: Path) -> CommandLine:
    return on_databases(database, dagster_database, tmp_path)


@pytest.fixture
def quarantine(database: Database) -> Database:
    """A reading that could be stored now, and one whose machine is still unknown."""
    make_world(database.engine)
    rows = [
        refusal("equipment_unknown", key=number, payload=reading("B6LG", DAY, 5, 100, number=number), equipment_number=number)
        for number in ("N526JB", "N9")
    ]
    rows[1]["other_failures"] = [also("point_too_long")]
    with database.engine.begin() as connection:
        rejections.store(connection, "running_times", None, pd.DataFrame(rows))
    return database


def test_refused_records_are_listed_shown_exported_and_discarded(cmms: CommandLine, quarantine: Database, tmp_path: Path) -> None:
    (one,) = cmms.json("rejections", "list", "--equipment", "N9", "--rule", "equipment_unknown", "--date", "2013-10-28")
    assert (one["record_key"], one["payload"]["EQUNR"]) == ("N9", "N9")
    record = cmms.json("rejections", "show", str(one["id"]))
    assert (record["message"], record["other_failures"]) == (one["message"], [also("point_too_long")])
    shown = cmms("rejections", "show", str(one["id"])).stdout
    assert all(text in shown for text in ('"EQUNR": "N9"', one["message"], "point_too_long", "Too long."))
    missing = cmms("rejections", "show", "999")
    assert (missing.returncode, missing.stderr.strip().splitlines()[-1][:36]) == (1, "cmms: There is no rejection 999: `cm")

    file = tmp_path / "refused.csv"
    assert cmms.json("rejections", "export", "--output", str(file)) == {"records": 2, "file": str(file)}
    with file.open(newline="") as lines:
        assert {json.loads(row["payload"])["EQUNR"] for row in csv.DictReader(lines)} == {"N526JB", "N9"}
    assert cmms("rejections", "export", "--plant", "XX").stdout.count("\n") == 1

    assert cmms("rejections", "discard", "--equipment", "N9").returncode == 2  # no reason
    assert "Say which open records" in cmms("rejections", "discard", "--reason", "tidy").stderr
    assert cmms.json("rejections", "discard", "--id", str(one["id"]), "--reason", "sold") == {"discarded": [one["id"]]}
    (closed,) = cmms.json("rejections", "list", "--status", "discarded")
    assert closed["resolution_reason"] == "sold"
    assert "@" in closed["resolved_by"]


def test_a_replay_of_the_command_line_reports_and_is_a_run_of_dagster(cmms: CommandLine, quarantine: Database) -> None:
    dry = cmms.json("rejections", "replay", "--rule", "equipment_unknown", "--dry-run")
    assert (dry["judged"], dry["accepted"], dry["is_dry_run"]) == (2, 1, True)
    assert stored(quarantine.engine) == []
    told = cmms("rejections", "replay", "--date", "2013-10-28")
    assert "2 judged again: 1 accepted, 1 refused" in told.stderr
    assert "N9" in told.stdout
    assert stored(quarantine.engine) == [(5.0, 100.0, 1, "B6LG")]


def test_pause_resume_and_status_tell_who_and_why(cmms: CommandLine, database: Database) -> None:
    assert cmms.json("sync", "pause", "--reason", "moving house") == {"paused": True, "changed": True}
    assert "paused already" in cmms("sync", "pause").stderr
    told = cmms.json("sync", "status")
    assert "@" in told["paused"]["changed_by"]
    assert (told["running"], told["finished"]) == ([], [])
    assert "Syncs are paused by" in cmms("sync", "status").stdout
    assert cmms.json("sync", "resume") == {"paused": False, "changed": True}
    with database.engine.connect() as connection:
        trail = connection.execute(sa.select(audit_log.c.action, audit_log.c.reason).order_by("id")).all()
    assert [row.action for row in trail] == ["syncs_paused", "syncs_paused", "syncs_resumed"]
    assert trail[0].reason == "moving house"


@pytest.mark.parametrize("how", ["SIGTERM", "stop"])
def test_a_sync_that_is_ended_closes_its_log_as_cancelled_at_once(
    database: Database, dagster_database: str, slow_emulator: Emulator, tmp_path: Path, how: str
) -> None:
    Source(database, settings_for(slow_emulator, database, tmp_path)).plants()
    cmms = on_databases(
        database,
        dagster_database,
        tmp_path,
        CMMS_API_URL=slow_emulator.url,
        CMMS_API_TOKEN=slow_emulator.token,
        CMMS_SYNC_PLANTS_PER_SLICE="5",
    )
    days = ("--date", "2013-10-01", "--to", "2013-11-30")
    with cmms.start("sync", "running-times", *days) as process:
        wait_for_slices(database, 3, process)
        if how == "SIGTERM":
            process.send_signal(signal.SIGTERM)
        else:
            (status,) = cmms.json("sync", "status")["running"]
            assert (status["slices_total"], status["scope"]["from"]) == (61 * 7, "2013-10-01")
            told = cmms.json("sync", "stop", "--reason", "wrong month")
            assert ("sync", "running_times") in {(one["kind"], one["name"]) for one in told}
        told_at = time.monotonic()
        out, errors = process.communicate(timeout=60)
    assert time.monotonic() - told_at < 20
    assert process.returncode == 1, errors
    with database.engine.connect() as connection:
        log = connection.execute(sa.select(api_sync_logs).where(api_sync_logs.c.sync_type == "running_times")).one()
        done = connection.scalar(sa.select(sa.func.count()).select_from(sync_slices).where(sync_slices.c.sync_log_id == log.id))
    assert log.status == "cancelled", f"{log.error_message}\n{errors}"
    assert ("wrong month" in log.error_message) == (how == "stop")
    assert 3 <= log.slices_done == done < log.slices_total
    assert dagster_status(dagster_database, tmp_path, log.dagster_run_id) is dg.DagsterRunStatus.CANCELED
    assert "cancelled" in out


def test_a_sync_that_is_killed_leaves_a_run_that_the_next_command_closes(
    database: Database, dagster_database: str, slow_emulator: Emulator, tmp_path: Path
) -> None:
    Source(database, settings_for(slow_emulator, database, tmp_path)).plants()
    given = {"CMMS_API_URL": slow_emulator.url, "CMMS_API_TOKEN": slow_emulator.token, "CMMS_SYNC_PLANTS_PER_SLICE": "5"}
    cmms = on_databases(database, dagster_database, tmp_path, **given)
    with cmms.start("sync", "running-times", "--date", "2013-10-01", "--to", "2013-11-30") as process:
        wait_for_slices(database, 2, process)
        process.kill()
        process.communicate(timeout=60)
    told = cmms("sync", "plants")
    with database.engine.connect() as connection:
        log = connection.execute(sa.select(api_sync_logs).where(api_sync_logs.c.sync_type == "running_times")).one()
    assert told.returncode == 0, told.stderr
    assert f"canceled run {log.dagster_run_id[:8]} of sync_running_times, whose process was killed" in told.stderr
    assert dagster_status(dagster_database, tmp_path, log.dagster_run_id) is dg.DagsterRunStatus.CANCELED
    assert (log.status, "was killed" in log.error_message) == ("failed", True)
    assert "whose process was killed" not in cmms("sync", "plants").stderr


def wait_for_slices(database: Database, wanted: int, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        with database.engine.connect() as connection:
            counted = sa.select(sa.func.count()).where(sync_slices.c.sync_type == "running_times")
            if (connection.scalar(counted) or 0) >= wanted:
                return
        time.sleep(0.02)
    raise AssertionError("no slice was done")


def dagster_status(dagster_url: str, home: Path, run_id: str) -> dg.DagsterRunStatus:
    folder = home / "look"
    folder.mkdir()
    with instance_on(dagster_url, folder) as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None
    return run.status


def test_a_scope_with_a_typing_error_fails_with_a_sentence(
    database: Database, dagster_database: str, slow_emulator: Emulator, tmp_path: Path
) -> None:
    Source(database, settings_for(slow_emulator, database, tmp_path)).plants()
    given = {"CMMS_API_URL": slow_emulator.url, "CMMS_API_TOKEN": slow_emulator.token}
    cmms = on_databases(database, dagster_database, tmp_path, **given)
    finished = cmms("sync", "running-times", "--date", "2013-10-28", "--plant", "B6JX")
    last = finished.stderr.strip().splitlines()[-1]
    assert finished.returncode == 1
    assert last.startswith("cmms: Unknown plant code B6JX: nothing was synced")
    assert last.endswith("Did you mean B6JF?")
