"""What docs/webhooks.md tells people to copy works, and `cmms hook send` speaks as every kind of sender."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cmms_pipelines.cli import app
from cmms_pipelines.domain.event_payloads import PAYLOADS
from cmms_pipelines.domain.presets import PRESETS
from cmms_pipelines.domain.signatures import SCHEMES, SchemeName
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_webhook.description import describe_payloads, request
from cmms_webhook.problems import Kind, status_of
from tests.conftest import Database
from tests.webhook.conftest import SECRET, Sidecar, running, signed

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks.md").read_text()
SECRETS = {SchemeName.STANDARD_WEBHOOKS: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


def test_every_configuration_on_the_page_is_valid_and_every_scheme_is_there() -> None:
    shown = [json.loads(text) for text in re.findall(r"^source '(.*?)'$", PAGE, re.DOTALL | re.MULTILINE)]
    sources = [WebhookSource.model_validate(one["configuration"]) for one in shown]
    named = {source.scheme for source in sources} | {SchemeName.HMAC_BASE64, SchemeName.GITHUB}
    assert named == set(SchemeName)
    assert all(f"`{field}`" in PAGE for field in WebhookSource.model_fields)


def test_every_answer_is_on_the_page() -> None:
    for kind in Kind:
        if kind not in {Kind.INTERNAL, Kind.NOT_FOUND}:
            assert re.search(rf"^\| {status_of(kind)} \| .*`{kind}`", PAGE, re.MULTILINE), kind


def test_every_query_on_the_page_runs(database: Database) -> None:
    queries = re.findall(r"`(SELECT [^`]+)`", PAGE)
    assert queries
    with database.engine.connect() as connection:
        for query in queries:
            connection.exec_driver_sql(query)


def test_the_payload_of_every_event_type_has_its_schema_in_the_description() -> None:
    described: dict[str, Any] = {"components": {"schemas": {}}}
    describe_payloads(described)
    schemas = described["components"]["schemas"]
    assert {model.__name__ for models in PAYLOADS.values() for model in models} <= set(schemas)
    asked = json.dumps([schemas, request(has_system_header=True)])
    assert set(re.findall(r"#/components/schemas/(\w+)", asked)) <= set(schemas)
    assert "downtime" in schemas["FailurePayload"]["properties"]


def test_the_sender_to_copy_is_accepted(sidecar: Sidecar) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    mine = code.replace("THE SECRET", SECRET).replace("https://cmms.example.com", sidecar.url)
    done = subprocess.run([sys.executable, "-c", mine], capture_output=True, text=True, check=True)
    assert '"status":"accepted"' in done.stdout


@pytest.mark.parametrize("name", ["atlas", "cloudevents", "unsigned"])
def test_the_command_speaks_as_the_source_would(database: Database, settings: Settings, name: str) -> None:
    preset = PRESETS[name]
    is_unsigned = preset.scheme not in SCHEMES
    with running(database, settings) as sidecar:
        secret = None if is_unsigned else SECRETS.get(preset.scheme, "a-secret-of-some-length")
        sidecar.register("sender", secret, scheme=preset.scheme, allow_unsigned=is_unsigned)
        environment = {"CMMS_HOME": str(settings.home), "CMMS_DATABASE_URL": database.url}
        arguments = ["hook", "send", "--json", "--system", "sender", "--type", "work_order_created", "--url", sidecar.url]
        done = CliRunner().invoke(app, arguments, env=environment)
        assert done.exit_code == 0, done.output
        (told,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # the receiver logs beside it
        assert json.loads(told)["status"] == 202
        (row,) = sidecar.rows()
        assert (row["event_type"], row["entity_key"], row["processing_status"]) == (
            "work_order_created",
            "work_order:WO-SAMPLE-1",
            "pending",
        )


def test_a_proxys_word_on_the_address_counts_only_where_it_is_trusted(database: Database, settings: Settings) -> None:
    """Per-address limits follow `X-Forwarded-For` of a trusted proxy, and of nobody else."""
    for trusted, expected in ((None, [202, 429]), ("127.0.0.1", [202, 202])):
        with running(database, settings, trusted_proxies=trusted) as sidecar:
            sidecar.register("limited", SECRET, address_rate_limit={"per_s": 0.01, "burst": 1})
            time.sleep(1.1)
            answers = []
            for address in ("198.51.100.7", "198.51.100.8"):
                body = json.dumps(
                    {"event_type": "work_order_updated", "timestamp": "2026-03-01T08:30:00Z", "payload": {"a": address}}
                )
                headers = signed(body.encode()) | {"x-cmms-system": "limited", "x-forwarded-for": address}
                answers.append(sidecar.post(body.encode(), headers).status_code)
            assert answers == expected
