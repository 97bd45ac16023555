"""`cmms conflicts` and `cmms config conflicts`, for people and for machines."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cmms_pipelines.cli import app
from tests.conftest import Database
from tests.storage.edits_world import create_order, edit, source_says
from tests.storage.inbox_world import order_row


class Cmms:
    """The command line in this process, on one database."""

    def __init__(self, database: Database, home: Path) -> None:
        self.environment = {"CMMS_DATABASE_URL": database.url, "CMMS_HOME": str(home)}

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=self.environment)

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the command says
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture
def cmms(database: Database, tmp_path: Path) -> Cmms:
    return Cmms(database, tmp_path)


def test_a_conflict_is_listed_shown_decided_and_taken_back(cmms: Cmms, database: Database) -> None:
    order_id = create_order(database)
    edit(database, order_id, 12, title="ours")
    source_says(database, 10, title="theirs")
    (one,) = cmms.json("conflicts", "list", "--field", "title", "--entity", "4000123")
    assert (one["base"], one["ours"], one["theirs"]) == ("A", "ours", "theirs")
    number = str(one["id"])
    shown = cmms("conflicts", "show", number)
    assert all(word in shown.output for word in ("base", "Ada", "atlas", "9_undecided", "2026-03-02 12:12:00Z"))
    tried = cmms.json("conflicts", "resolve", number, "--take", "theirs", "--reason", "they called", "--dry-run")
    assert (tried["is_dry_run"], order_row(database.url)["title"]) == (True, "ours")
    assert cmms("conflicts", "resolve", number, "--reason", "x").exit_code == 2
    done = cmms.json("conflicts", "resolve", number, "--value", "both", "--reason", "they called")
    assert (done["resolved"][0]["resolution"], order_row(database.url)["title"]) == ("both", "both")
    assert cmms.json("conflicts", "list") == []
    opened = cmms.json("conflicts", "undo", number, "--reason", "wrong call")["open"]
    assert order_row(database.url)["title"] == "ours"
    many = cmms.json("conflicts", "resolve", "--take", "theirs", "--source", "atlas", "--reason", "all theirs")
    assert [row["id"] for row in many["resolved"]] == [opened]


def test_a_policy_is_checked_set_listed_and_rolled_back(cmms: Cmms, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"allowed_skew_s": 60}')
    assert json.loads(cmms("config", "conflicts", "validate", str(policy)).stdout) == {"allowed_skew_s": 60}
    assert cmms.json("config", "conflicts", "set", "atlas", str(policy))["version"] == 1
    assert cmms.json("config", "conflicts", "rollback", "atlas", "--to", "0")["version"] == 2
    assert [row["version"] for row in cmms.json("config", "conflicts", "history", "atlas")] == [2, 1]
    assert json.loads(cmms("config", "conflicts", "show", "atlas").stdout)["policy"]["allowed_skew_s"] == 300
