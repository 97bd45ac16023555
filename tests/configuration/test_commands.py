"""`cmms config` over all kinds: what is in force and why, what is refused and how it is told, and the way back."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from cmms_pipelines.commands.config import app
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage.tables import audit_log, sync_configurations
from tests.conftest import Database
from tests.emulator_server import Emulator, running_emulator

CANARY = "canary-5e1d77-secret"


class World:
    """The command line in this process, on a database of the test's own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self._folder = database, folder

    def say(self, *arguments: str, **options: Any) -> Result:  # noqa: ANN401 - of the runner
        return CliRunner().invoke(app, list(arguments), catch_exceptions=False, **options)

    def json(self, *arguments: str) -> Any:  # noqa: ANN401 - whatever the command says
        result = self.say(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout.splitlines()[-1])

    def file(self, document: object, name: str = "document.json") -> str:
        path = self._folder / name
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        return str(path)

    def set(self, kind: str, document: object, *more: str) -> Any:  # noqa: ANN401 - as above
        return self.json("set", kind, "--file", self.file(document), *more)

    def spoil(self, kind: str, document: dict[str, object]) -> None:
        """Change what is stored by hand, past every check."""
        table = sync_configurations
        with self.database.engine.begin() as connection:
            connection.execute(sa.update(table).where(table.c.sync_type == kind).values(configuration=document))


@pytest.fixture
def world(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ("CMMS_API_URL", "CMMS_API_TOKEN", "CMMS_API_TIMEOUT_S"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CMMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CMMS_DATABASE_URL", database.url)
    return World(database, tmp_path)


def test_every_value_says_where_it_comes_from_and_the_environment_wins(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.set("api", {"url": "https://sap.example.org", "timeout_s": 60, "plants_per_call": 7})
    monkeypatch.setenv("CMMS_API_TIMEOUT_S", "20")
    shown = world.json("show", "api")
    assert (shown["version"], shown["version_in_force"], shown["problem"]) == (1, 1, None)
    assert shown["values"]["url"] == {"value": "https://sap.example.org", "source": "stored version 1"}
    assert shown["values"]["timeout_s"] == {"value": 20.0, "source": "environment (CMMS_API_TIMEOUT_S)"}
    assert shown["values"]["max_in_flight"] == {"value": 4, "source": "default"}
    told = world.say("set", "api", "--file", world.file({"timeout_s": 61}))
    assert "timeout_s: the environment (CMMS_API_TIMEOUT_S) wins" in told.stderr
    kinds = {one["kind"] for one in world.json("show")}
    assert kinds == {"api", "schedules", "mapping", "thresholds", "alerts"}
    assert "sync_plants_nightly" not in world.say("show", "schedules").stdout  # only what is configured is listed


def test_versions_are_compared_and_taken_back_and_each_change_is_audited(world: World) -> None:
    for days in (30, 60):
        world.set("thresholds", {"keep_logs_days": days, "look_back_days": 5})
    assert world.set("thresholds", {"keep_logs_days": 60, "look_back_days": 5})["version"] == 2  # an identical one adds none
    assert world.json("diff", "thresholds") == [{"key": "keep_logs_days", "before": 30, "after": 60}]
    assert world.json("diff", "thresholds", "--from", "0", "--to", "1") == [
        {"key": "keep_logs_days", "before": None, "after": 30},
        {"key": "look_back_days", "before": None, "after": 5},
    ]
    against_file = ("diff", "thresholds", "--file", world.file({"keep_logs_days": 60}))
    assert world.json(*against_file) == [{"key": "look_back_days", "before": 5, "after": None}]
    assert world.json("rollback", "thresholds", "--to", "1")["version"] == 3
    assert world.json("show", "thresholds")["values"]["keep_logs_days"] == {"value": 30, "source": "stored version 3"}
    assert [row["version"] for row in world.json("history", "thresholds")] == [3, 2, 1]
    assert world.json("rollback", "thresholds", "--to", "0")["configuration"] == {}
    with pytest.raises(PermanentError, match="no version 9"):
        world.say("rollback", "thresholds", "--to", "9")
    with pytest.raises(PermanentError, match="at version 4 by now"):
        world.say("set", "thresholds", "--file", world.file({}), "--version", "2")
    query = sa.select(audit_log.c.before, audit_log.c.after).where(audit_log.c.entity_key == "thresholds:cmms").order_by("at")
    with world.database.engine.connect() as connection:
        second = connection.execute(query).all()[1]
    assert (second.before["configuration"]["keep_logs_days"], second.after["configuration"]["keep_logs_days"]) == (30, 60)


@pytest.mark.parametrize(
    ("kind", "document", "problem"),
    [
        ("api", {"timout_s": 5}, "timout_s: there is no such key; did you mean timeout_s?"),
        ("api", {"timeout_s": 0}, "timeout_s: Input should be greater than 0"),
        ("api", {"token": CANARY}, "token: secrets are never part of a configuration"),
        ("api", {"url": f"https://me:{CANARY}@sap.example.org"}, "url: secrets are never part"),
        ("api", {"url": "sap.example.org"}, "url: it is no URL"),
        ("api", {"dialect": "odata"}, "dialect: Input should be 'ims', 'odata_v2' or 'odata_v4'"),
        ("schedules", {"time_zone": "Mars/Base"}, "time_zone: 'Mars/Base' is no time zone"),
        ("schedules", {"schedules": {"sync_plants_nightly": {"cron": "61 * * * *"}}}, "minute '61' is not within 0 to 59"),
        ("schedules", {"schedules": {"sync_plants_nightly": {"on": True}}}, "schedules.sync_plants_nightly.on: there is no such"),
        ("mapping", {"fields": {"ims": {"running_times": {"hours": ["Z"]}}}}, "ims.running_times.hours: there is no such column"),
        ("mapping", {"fields": {"odata_v2": {"equipment": {"point": ["Z"]}}}}, "odata_v2.equipment"),
        ("mapping", {"plants_file": "plants.csv"}, "plants_file: 'plants.csv' must be an absolute path"),
        ("mapping", {"equipment_groups": [{"nam": "x", "when": {}}]}, "equipment_groups.0.nam"),
        ("mapping", {"equipment_groups_file": "/g.toml", "equipment_groups": [{"name": "x"}]}, "say either"),
        ("thresholds", {"look_back_days": 1000}, "look_back_days: Input should be less than or equal to 366"),
        ("alerts", {"routs": {}}, "routs: there is no such key; did you mean routes?"),
        (
            "alerts",
            {"thresholds": {"conflict_age": 2}},
            "thresholds.conflict_age: there is no such key; did you mean conflict_age_h",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_field_and_reason_and_changes_nothing(
    world: World, kind: str, document: dict[str, object], problem: str
) -> None:
    judged = world.say("validate", kind, "--file", world.file(document), "--json")
    assert judged.exit_code == 1
    (row,) = json.loads(judged.stdout)
    assert problem in row["problem"]
    with pytest.raises(PermanentError) as refused:
        world.say("set", kind, "--file", world.file(document))
    assert problem in str(refused.value)
    assert CANARY not in str(refused.value) + judged.output
    with world.database.engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(sync_configurations)) == 0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("show", "schedule"), "did you mean schedules?"),
        (("history", "webhook"), "Name the system"),
        (("show", "api", "sap"), "stands once for the installation"),
        (("diff", "thresholds", "--to", "4"), "no version 4"),
        (("set", "api", "--file", "/nowhere.json"), "cannot be read"),
    ],
)
def test_what_was_typed_wrong_is_told_in_one_sentence(world: World, arguments: tuple[str, ...], problem: str) -> None:
    with pytest.raises(PermanentError, match=problem.replace("?", r"\?")):
        world.say(*arguments)


def test_what_was_spoilt_by_hand_is_told_and_the_last_usable_version_stays_in_force(world: World) -> None:
    world.set("thresholds", {"look_back_days": 9})
    world.spoil("thresholds", {"look_back_days": "many"})
    shown = world.json("show", "thresholds")
    assert shown["values"]["look_back_days"] == {"value": 9, "source": "stored version 1"}
    assert "look_back_days" in shown["problem"]
    assert "Version 1 stays in force" in shown["problem"]
    judged = world.say("validate", "--json")
    assert judged.exit_code == 1
    assert [row["kind"] for row in json.loads(judged.stdout) if not row["is_usable"]] == ["thresholds"]
    assert "look_back_days" in world.say("show").stderr


def test_kinds_of_systems_stand_side_by_side_and_toml_is_read(world: World) -> None:
    mapping = (
        '[fields.ims.running_times]\nrunning_hours = ["ZRUNH"]\n[[equipment_groups]]\nname = "Pumps"\nwhen = { EQART = "PUMP" }\n'
    )
    stored = world.json("set", "mapping", "--file", world.file(mapping, "mapping.toml"))
    assert stored["cmms_system_id"] == "sap"
    assert stored["values"]["fields"]["value"]["ims"]["running_times"] == {"running_hours": ["ZRUNH"]}
    world.set("api", {"system_id": "s4"})
    assert world.json("show", "mapping")["cmms_system_id"] == "s4"
    assert world.json("show", "mapping", "sap")["version"] == 1
    assert world.json("set", "conflicts", "atlas", "--file", world.file({"allowed_skew_s": 9}))["version"] == 1
    assert world.json("show", "conflicts", "atlas")["values"]["allowed_skew_s"]["value"] == 9
    assert world.json("set", "webhook", "plant-cmms", "--file", world.file({"tolerance_s": 20}))["version"] == 1
    assert world.json("history", "plant-cmms")[0]["configuration"]["tolerance_s"] == 20
    assert not world.json("set", "webhook", "plant-cmms", "--file", world.file({"tolerance_s": 30}), "--off")["is_active"]
    assert not world.json("set", "webhook", "plant-cmms", "--file", world.file({"tolerance_s": 40}))["is_active"]  # stays off
    world.json("rollback", "plant-cmms", "--to", "1")
    shown = world.json("show", "webhook", "plant-cmms")
    assert (shown["is_active"], shown["values"]["tolerance_s"]["value"]) == (True, 20)


def test_addresses_of_channels_are_sealed_wherever_they_are_shown(world: World) -> None:
    given = {"channels": {"chat": {"url": f"json://host/{CANARY}"}}, "routes": {"high": ["chat"]}}
    assert world.say("validate", "alerts", "--file", world.file(given)).exit_code == 0
    said = [world.say("set", "alerts", "--file", world.file(given), "--json")]
    assert world.json("diff", "alerts", "--file", world.file({**given, "channels": {"chat": {}}})) == []
    said += [world.say(command, "alerts", "--json") for command in ("show", "history", "diff")]
    said += [world.say("rollback", "alerts", "--to", "1", "--json")]
    for result in said:
        assert result.exit_code == 0
        assert CANARY not in result.output
        assert "gAAAA" not in result.output
    assert json.loads(said[0].stdout)["values"]["channels"]["value"] == {"chat": {"url": "sealed"}}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator(clock=lambda: dt.datetime.now(dt.UTC)) as server:
        yield server


def test_reachability_is_tested_only_where_it_is_asked_for(
    world: World, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = world.file({"url": "http://127.0.0.1:9"}, "nobody.json")
    monkeypatch.setenv("CMMS_API_TOKEN", emulator.token)
    assert world.say("validate", "api", "--file", nobody).exit_code == 0
    assert world.say("validate", "api", "--file", nobody, "--reachable").exit_code == 1
    assert "reachable" not in world.say("validate", "api", "--file", nobody).output
    rows = world.json("validate", "api", "--file", world.file({"url": emulator.url}), "--reachable")
    assert [row["is_usable"] for row in rows] == [True, True]
