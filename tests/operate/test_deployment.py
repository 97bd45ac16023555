"""The files under deploy/ and the runbooks say what is so: units, metrics, variables and commands that exist."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml
from pydantic import SecretStr

from cmms_pipelines.domain.alerts import Trigger
from cmms_pipelines.settings import Settings
from cmms_webhook.app import EVENTS
from tests.command_line import CommandLine
from tests.conftest import Database
from tests.webhook.conftest import LIMITS, running

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
INSTALLED = "/opt/cmms-pipelines"
UNITS = sorted((DEPLOY / "systemd").glob("cmms*"))
RULES = DEPLOY / "prometheus" / "rules.yml"
OPERATIONS = (PROJECT / "docs" / "operations.md").read_text()
PROMTOOL = shutil.which("promtool")
FUNCTIONS = {"sum", "by", "source", "increase", "rate", "histogram_quantile", "le", "up"}


def rules() -> list[dict[str, dict[str, str] | str]]:
    found: list[dict[str, dict[str, str] | str]] = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]
    return found


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed: its units are not verified")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(PROJECT)))
    command = ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)]
    environment = {**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (finished.returncode, [line for line in finished.stderr.splitlines() if "cmms" in line]) == (0, [])


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=lambda unit: unit.name)
def test_units_start_commands_that_exist_from_the_place_that_the_page_names(unit: Path) -> None:
    [start] = re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
    program, *arguments = shlex.split(start)
    assert program == f"{INSTALLED}/.venv/bin/cmms"
    assert INSTALLED in OPERATIONS
    asked = CommandLine({})(*arguments, "--help")  # what it does not know it refuses before it helps
    assert (asked.returncode, "Usage" in asked.stdout) == (0, True), asked.stderr
    assert CommandLine({})(*arguments, "--no-such-option", "--help").returncode == 2
    for variable, value in re.findall(r"^Environment=(\w+)=(.+)$", unit.read_text(), re.MULTILINE):
        assert (variable, value) == ("CMMS_HOME", "/var/lib/cmms")


def test_the_example_of_an_environment_names_variables_that_exist_and_are_documented() -> None:
    text = (DEPLOY / "systemd" / "environment.example").read_text()
    given = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", text, re.MULTILINE))
    known = {f"CMMS_{name.upper()}" for name in Settings.model_fields} | {"DAGSTER_DATABASE_URL"}
    of_channels = {"CMMS_ALERT_MAIL_URL"}
    assert set(given) - known == of_channels
    documented = (PROJECT / "docs" / "configuration.md").read_text() + OPERATIONS
    assert all(f"`{name}`" in documented or name in OPERATIONS for name in given)
    values = {name.removeprefix("CMMS_").lower(): value for name, value in given.items() if name not in of_channels and value}
    Settings.model_validate(values)


def test_rules_and_page_name_metrics_that_the_receiver_has(database: Database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=SecretStr(database.url))
    with running(database, settings, LIMITS) as sidecar:
        sidecar.register("plant-cmms")
        assert sidecar.post(b"{}").status_code in {202, 400, 422}
        page = httpx.get(f"{sidecar.url}/metrics").text
    there = set(re.findall(r"^(?:# TYPE )?(\w+)(?:\{| )", page, re.MULTILINE))
    expressions = " ".join(str(rule["expr"]) for rule in rules())
    named = set(re.findall(r"[a-z_]+(?=\{|\[| [><=])", re.sub(r'"[^"]*"', "", expressions))) - FUNCTIONS
    assert len(named) >= 6
    assert named <= there
    assert set(re.findall(r"`(cmms_[a-z_]+(?:_total|_seconds|_bytes|_events|_up|_watched|_standing))`", OPERATIONS)) <= there
    assert "cmms_alerts_watched 0.0" in page


@pytest.mark.skipif(PROMTOOL is None, reason="Prometheus is not installed: it does not read the rules")
def test_prometheus_takes_the_rules_and_fires_them_when_it_should() -> None:
    for command in (["check", "rules", str(RULES)], ["test", "rules", str(PROJECT / "tests" / "operate" / "rules_test.yml")]):
        finished = subprocess.run([str(PROMTOOL), *command], capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_kind_of_alert_and_every_rule_has_a_runbook() -> None:
    headings = re.findall(r"^### (.+)$", OPERATIONS, re.MULTILINE)
    named = {re.split(r"[:`]", name)[0] for heading in headings for name in re.findall(r"`([a-z_]+[:`<]?)", heading)}
    assert {trigger.value for trigger in Trigger} <= named
    assert {str(rule["annotations"]["runbook"]) for rule in rules() if isinstance(rule["annotations"], dict)} <= named
    for heading in headings:
        if heading.startswith("`"):
            text = OPERATIONS.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
            assert "**Means.**" in text, heading
            assert "**Do.**" in text, heading


def test_the_proxy_lets_events_through_unread_and_streams_unbuffered() -> None:
    text = (DEPLOY / "nginx" / "cmms.conf").read_text()
    places = dict(re.findall(r"location ([^{]+?) \{(.*?)\}", text, re.DOTALL))
    assert EVENTS.startswith("/api/v1/hooks/")
    size = Settings.model_fields["webhook_max_body_bytes"].default
    assert (f"client_max_body_size {size // 2**20}m;" in places["/api/v1/hooks/"], size % 2**20) == (True, 0)
    assert "proxy_buffering off;" in places["/api/v1/cmms/"]
    assert set(re.findall(r"proxy_pass (\S+);", text)) == {f"http://127.0.0.1:{port}" for port in (3000, 3001, 8000)}
