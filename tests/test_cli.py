"""The command line as an operator meets it: real processes, one sentence for each failure."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage import embedded
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from tests.conftest import Database


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cmms-cli-"))
    folder.chmod(0o755)
    yield folder / "home"
    embedded.stop(folder / "home")
    shutil.rmtree(folder)


def cmms(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
    return subprocess.run(
        [sys.executable, "-m", "cmms_pipelines.cli", *arguments],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def assert_one_sentence(finished: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    assert finished.returncode == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith("cmms: ")
    for part in parts:
        assert part in last


def test_the_url_leads_to_a_database_that_is_started_on_demand_and_stopped_when_told(home: Path) -> None:
    found = cmms("db", "url", CMMS_HOME=str(home))
    assert found.returncode == 0, found.stderr
    with psycopg.connect(found.stdout.strip()) as connection:
        assert connection.info.dbname == "cmms"
    named = cmms("db", "url", "--driver", "psycopg2", CMMS_HOME=str(home)).stdout
    assert named == found.stdout.replace("postgresql://", "postgresql+psycopg2://")
    assert cmms("db", "stop", CMMS_HOME=str(home)).returncode == 0
    assert embedded.find_running(home) is None


def test_the_url_of_a_given_database_is_printed_as_it_is(database: Database) -> None:
    assert cmms("db", "url", CMMS_DATABASE_URL=database.url).stdout.strip() == database.url


def test_migrating_brings_an_empty_database_to_this_version(empty_database: str) -> None:
    finished = cmms("db", "migrate", CMMS_DATABASE_URL=empty_database, DAGSTER_DATABASE_URL=empty_database)
    assert finished.returncode == 0, finished.stderr
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT to_regclass('cmms.equipment_running_times')").fetchone() != (None,)


def test_an_unusable_environment_is_told_by_its_variable() -> None:
    assert_one_sentence(cmms("db", "url", CMMS_DAGSTER_PORT="99999"), "CMMS_DAGSTER_PORT")
    assert_one_sentence(cmms("db", "url", CMMS_DATABASE_URL="mysql://somewhere/db"), "CMMS_DATABASE_URL", "PostgreSQL")


def test_a_database_that_does_not_answer_is_told_in_one_sentence(home: Path) -> None:
    address = "postgresql://nobody:secret@127.0.0.1:1/cmms"
    finished = cmms("db", "migrate", CMMS_HOME=str(home), CMMS_DATABASE_URL=address, DAGSTER_DATABASE_URL=address)
    assert_one_sentence(finished, "127.0.0.1:1", "does not let us in")
    assert "secret" not in finished.stderr


def test_a_database_without_our_tables_is_told_in_one_sentence(empty_database: str) -> None:
    assert_one_sentence(cmms("rejections", "list", CMMS_DATABASE_URL=empty_database), "the database refused")


def test_a_taken_port_is_told_before_anything_starts(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        finished = cmms("demo", "--once", CMMS_HOME=str(home), CMMS_DAGSTER_PORT=port, CMMS_WEBHOOK_PORT="0")
    assert_one_sentence(finished, f"Port {port}", "Dagster UI", "CMMS_DAGSTER_PORT")
    assert len(finished.stderr.splitlines()) == 1
    assert embedded.find_running(home) is None


def test_an_empty_inbox_is_drained_at_once_and_an_empty_quarantine_is_an_empty_list(database: Database) -> None:
    drained = cmms("events", "process", "--json", CMMS_DATABASE_URL=database.url)
    assert json.loads(drained.stdout)["claimed"] == 0, drained.stderr
    assert json.loads(cmms("rejections", "list", "--json", CMMS_DATABASE_URL=database.url).stdout) == []
    assert "no open rejections" in cmms("rejections", "list", CMMS_DATABASE_URL=database.url).stderr


def test_putting_events_back_needs_to_know_which(database: Database) -> None:
    assert cmms("events", "replay", CMMS_DATABASE_URL=database.url).returncode == 2
    dead = cmms(
        "events", "replay", "--status", "dead_letter", "--type", "asset_updated", "--json", CMMS_DATABASE_URL=database.url
    )
    assert json.loads(dead.stdout) == {"put_back": []}
    tried = cmms("events", "replay", "--since", "2026-01-01", "--dry-run", "--json", CMMS_DATABASE_URL=database.url)
    assert json.loads(tried.stdout) == {"events": 0, "by_status": {}, "by_type": {}, "trials": []}


def test_a_token_is_made_once_listed_without_itself_and_revoked_once(database: Database) -> None:
    environment = {"CMMS_DATABASE_URL": database.url}
    made = cmms("tokens", "create", "Ada", "--role", "viewer", "--expires-in-days", "7", **environment)
    token = made.stdout.strip()
    assert token.startswith("cmms_"), made.stderr
    assert_one_sentence(cmms("tokens", "create", "Ada", "--role", "admin", **environment), "'Ada'", "revoke it first")
    listed = cmms("tokens", "list", "--json", **environment).stdout
    assert [(row["name"], row["role"], row["revoked_at"]) for row in json.loads(listed)] == [("Ada", "viewer", None)]
    assert token not in listed + made.stderr
    assert cmms("tokens", "revoke", "Ada", **environment).returncode == 0
    assert_one_sentence(cmms("tokens", "revoke", "Ada", **environment), "'Ada'")


def test_configurations_are_shown_validated_and_rolled_back(database: Database, home: Path, tmp_path: Path) -> None:
    environment = {"CMMS_DATABASE_URL": database.url, "CMMS_HOME": str(home)}
    for tolerance_s in (10, 20):
        with database.engine.begin() as connection:
            source = WebhookSource(tolerance_s=tolerance_s).model_dump(mode="json")
            write_configuration(connection, "plant-cmms", WEBHOOK, source, actor="tests")
    [listed] = json.loads(cmms("config", "list", "--json", **environment).stdout)
    assert (listed["source"], listed["version"], listed["scheme"]) == ("plant-cmms", 2, "hmac_hex")
    back = json.loads(cmms("config", "rollback", "plant-cmms", "--to", "1", "--json", **environment).stdout)
    assert (back["version"], back["configuration"]["tolerance_s"]) == (3, 10)
    shown = json.loads(cmms("config", "show", "plant-cmms", **environment).stdout)
    assert (shown["version"], shown["secrets"]) == (3, [])
    versions = json.loads(cmms("config", "history", "plant-cmms", "--json", **environment).stdout)
    assert [(one["version"], one["changed_by"]) for one in versions] == [(3, "command line"), (2, "tests"), (1, "tests")]
    assert cmms("config", "validate", **environment).returncode == 0
    broken = tmp_path / "broken.json"
    broken.write_text('{"scheme": "none"}')
    judged = cmms("config", "validate", "--file", str(broken), "--json", **environment)
    assert judged.returncode == 1
    assert "scheme" in json.loads(judged.stdout)[0]["problem"]
    assert_one_sentence(cmms("config", "show", "nobody", **environment), "'nobody'")


def test_a_sample_event_of_an_unknown_system_is_told_in_one_sentence(database: Database, home: Path) -> None:
    arguments = ("hook", "send", "--system", "nobody", "--type", "work_order_created")
    assert_one_sentence(cmms(*arguments, CMMS_DATABASE_URL=database.url, CMMS_HOME=str(home)), "'nobody'")


def test_a_sync_without_plants_says_what_to_do_first(database: Database) -> None:
    assert_one_sentence(cmms("sync", "equipment", CMMS_DATABASE_URL=database.url), "cmms sync plants")
    assert cmms("sync", "running-times", "--date", "2026-01-02", "--to", "2026-01-01").returncode == 2


def test_a_failing_run_shows_its_step_and_its_reason_but_no_stack(home: Path) -> None:
    finished = cmms("sync", "plants", CMMS_HOME=str(home))
    assert_one_sentence(finished, "CMMS_API_URL is not set")
    assert "Steps failed: ['cmms__plants']" in finished.stderr
    assert "Stack Trace" not in finished.stderr
