"""A signed sample of every kind of sender goes the whole way, by each tool that sends one, to a real receiver and drain."""

import json
import threading
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from cmms_pipelines.cli import app
from cmms_pipelines.defs.maintenance.sample_events import SEND_TEST_EVENTS
from cmms_pipelines.domain.presets import PRESETS
from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configuration_changes import generate_secret
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.drain import drain
from tests.defs.test_inbox import execute
from tests.storage.inbox_world import query
from tests.webhook.conftest import Sidecar, wait_until

ZONES = {"frappe": {"time_zone": "UTC"}, "unsigned": {"allow_unsigned": True}}


@pytest.fixture(scope="module")
def drained(shared_sidecar: Sidecar) -> Iterator[Sidecar]:
    """The shared sidecar with a source of each kind, and a drain at work behind it."""
    for preset in PRESETS:
        source = WebhookSource.of_preset(preset, **ZONES.get(preset, {}))
        secret = None if source.scheme is SchemeName.UNSIGNED else generate_secret(source.scheme)
        register_source(shared_sidecar.database.engine, shared_sidecar.settings, preset, source, secret=secret, actor="tests")
    stop = threading.Event()
    work = threading.Thread(target=drain, args=(shared_sidecar.database.url,), kwargs={"idle_s": 600, "should_stop": stop.is_set})
    work.start()
    yield shared_sidecar
    stop.set()
    work.join()


@pytest.fixture
def environment(drained: Sidecar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMMS_HOME", str(drained.settings.home))
    monkeypatch.setenv("CMMS_DATABASE_URL", drained.database.url)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("preset", PRESETS)
def test_the_command_sends_a_sample_of_every_preset_and_it_is_applied(drained: Sidecar, preset: str) -> None:
    arguments = ["hook", "send", "--json", "--system", preset, "--type", "work_order_created", "--url", drained.url]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # the receiver logs beside it
    identifier = json.loads(json.loads(told)["answer"])["id"]
    status = "SELECT processing_status FROM cmms.maintenance_event_hooks WHERE id = %s AND processing_status <> 'pending'"
    wait_until(lambda: bool(query(drained.database.url, status, identifier)), 60)
    assert query(drained.database.url, status, identifier)[0][0] in {"processed", "ignored"}
    order = "SELECT work_order_number FROM cmms.work_orders WHERE cmms_system_id = %s"
    assert query(drained.database.url, order, preset) == [("WO-SAMPLE-1",)]


@pytest.mark.usefixtures("environment")
def test_the_job_sends_a_sample_of_every_preset_and_follows_it_to_its_end(drained: Sidecar) -> None:
    signing = sorted(set(PRESETS) - {"unsigned"})
    for config in ({"presets": signing}, {"sources": ["unsigned"]}):
        wanted = {"ops": {"send_samples": {"config": {"receiver": drained.url, "wait_s": 60.0, **config}}}}
        result = execute(drained.database, SEND_TEST_EVENTS, wanted)
        assert result.success
        (metadata,) = [event.step_output_data.metadata for event in result.all_events if event.is_successful_output]
        assert metadata["events"].value == len(next(iter(config.values())))
