"""A test event goes the whole way, signed as its sender would sign it, from a job whose run shows how far each one came."""

import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from cmms_pipelines.defs.maintenance.sample_events import SEND_TEST_EVENTS
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.drain import drain
from tests.conftest import Database
from tests.defs.test_inbox import execute
from tests.storage.inbox_world import query
from tests.webhook.conftest import LIMITS, running


def test_samples_of_sources_and_of_kinds_of_senders_are_followed_until_they_are_applied(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CMMS_HOME", str(tmp_path))
    settings = Settings(home=tmp_path)
    for name, preset in (("plant-cmms", "github"), ("field-nation", "field_nation")):
        source = WebhookSource.of_preset(preset)
        register_source(database.engine, settings, name, source, secret=SecretStr("a secret of some length"), actor="tests")
    stop = threading.Event()
    with running(database, settings, LIMITS) as sidecar:
        work = threading.Thread(target=lambda: drain(database.url, idle_s=60, should_stop=stop.is_set))
        work.start()
        told = [
            execute(database, SEND_TEST_EVENTS, {"ops": {"send_samples": {"config": {"receiver": sidecar.url, **config}}}})
            for config in ({}, {"presets": ["standard_webhooks"]}, {"sources": ["nobody"]}, {"presets": ["unsigned"]})
        ]
        stop.set()
        work.join()
    rows = [
        record.data
        for result in told
        for event in result.all_events
        if event.is_successful_output
        for record in event.step_output_data.metadata["sent"].value.records
    ]
    assert [result.success for result in told] == [True, True, False, False]
    assert [(row["http_status"], row["status"]) for row in rows] == [("202", "processed")] * 3
    assert [row["source"] for row in rows][:2] == ["field-nation", "plant-cmms"]
    assert query(database.url, "SELECT cmms_system_id FROM cmms.sync_configurations ORDER BY 1") == [
        ("field-nation",),
        ("plant-cmms",),
    ]
