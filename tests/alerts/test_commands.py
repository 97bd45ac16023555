"""`cmms alerts`, in this process but for the watcher, which owns its process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cmms_pipelines.commands.alerts import app
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.reports import SyncStatus
from tests.alerts.conftest import SECRET, World
from tests.alerts.test_triggers import end_sync
from tests.storage.inbox_world import query

Say = Callable[..., Result]


@pytest.fixture
def say(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Say:
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    monkeypatch.setenv("CMMS_DATABASE_URL", world.database.url)
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), catch_exceptions=False, **options)


def answer(result: Result) -> Any:  # noqa: ANN401 - whatever the command says
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_alerts_are_listed_shown_and_taken(world: World, say: Say) -> None:
    end_sync(world, SyncStatus.PARTIAL, refused=101)
    world.look()
    (row,) = answer(say("list", "--severity", "high", "--json"))
    assert (row["fingerprint"], row["figures"]["refused"]) == ("sync:equipment", 101)
    taken = answer(say("ack", str(row["id"]), "--note", "known", "--json"))
    assert (taken["status"], taken["acknowledgement"]) == ("acknowledged", "known")
    shown = answer(say("show", str(row["id"]), "--json"))
    assert (shown["acknowledged_by"], shown["deliveries"]) == (taken["acknowledged_by"], [])
    assert answer(say("list", "--status", "resolved", "--json")) == []
    with pytest.raises(PermanentError, match="no alert 999"):
        say("ack", "999")


def test_channels_are_configured_sealed_and_tried(world: World, say: Say) -> None:
    given = {"channels": {"chat": {"url": world.chat.url}}, "routes": {"high": ["chat"]}}
    result = say("configure", "-", "--json", input=json.dumps(given))
    assert answer(result)["channels"] == {"chat": {"url": "sealed"}}
    assert SECRET not in result.output
    (tried,) = answer(say("test", "--json"))
    assert (tried["channel"], tried["service"], tried["is_delivered"]) == ("chat", "JSON", True)
    assert "trial" in world.chat.bodies[0]["title"]
    world.chat.status = 500
    assert say("test", "chat").exit_code == 1
    with pytest.raises(PermanentError, match="no channel pager"):
        say("test", "pager")
    with pytest.raises(PermanentError, match="routes"):
        say("configure", "-", input=json.dumps({"routes": {"high": ["pager"]}}))


def test_the_watcher_looks_by_itself_and_writes_a_log_of_json_lines(world: World, empty_database: str, tmp_path: Path) -> None:
    end_sync(world, SyncStatus.PARTIAL, refused=200)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
    given = {"CMMS_HOME": str(tmp_path), "CMMS_DATABASE_URL": world.database.url, "DAGSTER_DATABASE_URL": empty_database}
    command = [sys.executable, "-m", "cmms_pipelines.cli", "alerts", "watch", "--once", "--json"]
    done = subprocess.run(command, env=inherited | given, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["alerts_opened"] == 1
    assert query(world.database.url, "SELECT fingerprint FROM cmms.alerts") == [("sync:equipment",)]
    lines = [json.loads(line) for line in (tmp_path / "logs" / "alerts.jsonl").read_text().splitlines()]
    assert [(line["event"], line["severity"]) for line in lines] == [("alert_opened", "high")]
