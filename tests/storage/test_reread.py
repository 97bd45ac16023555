"""Held events are read once more from their bytes when a mapping for them exists, and a dry run says first what would change."""

import hashlib
import json
from typing import Any

from cmms_pipelines.domain.events import CanonicalEvent, HookStatus, entity_key
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from cmms_pipelines.storage.inbox import ReceivedHook, accept
from cmms_pipelines.storage.inbox_replay import dry_run, put_back
from cmms_pipelines.storage.inbox_search import EventFilter
from tests.conftest import Database
from tests.storage.inbox_world import drain_now, inbox, order_row, query

SYSTEM = "odoo"
HELD = EventFilter(statuses=["held"])
MAPPING: dict[str, Any] = {
    "fields": {"event_type": "/_model", "work_order_number": "/id", "title": "/name"},
    "event_types": {"maintenance.request": "work_order_created"},
}


def configure(database: Database, **fields: object) -> None:
    source = WebhookSource.model_validate({"format": "mapped", "fields": {"event_type": "/_model"}, **fields})
    with database.engine.begin() as connection:
        write_configuration(connection, SYSTEM, WEBHOOK, source.model_dump(mode="json"), actor="tests")


def receive(database: Database, *bodies: dict[str, object]) -> None:
    """Store events as the receiver does those that it cannot place: whole, under their sender's name, held."""
    raws = [json.dumps(body).encode() for body in bodies]
    hooks = [
        ReceivedHook(
            cmms_system_id=SYSTEM,
            event_type=str(body["_model"]),
            payload=body,
            occurred_at=None,
            entity_key=entity_key(CanonicalEvent(str(body["_model"]), None, body), hashlib.sha256(raw).digest()),
            dedup_key=f"id:{number}",
            raw_body=raw,
            body_sha256=hashlib.sha256(raw).digest(),
            first_status=HookStatus.HELD,
        )
        for number, (body, raw) in enumerate(zip(bodies, raws, strict=True))
    ]
    with database.engine.begin() as connection:
        accept(connection, hooks)


def test_a_held_event_is_applied_once_its_source_says_what_it_means(database: Database) -> None:
    configure(database)
    receive(database, {"_model": "maintenance.request", "id": 7, "name": "Leak"}, {"_model": "res.partner", "id": 8})
    configure(database, **MAPPING)
    before = query(database.url, "SELECT t::text FROM cmms.maintenance_event_hooks t ORDER BY sequence")
    with database.engine.connect() as connection:
        tried = dry_run(connection, HELD, reread=True)
        connection.rollback()
    assert [(trial.event_type, trial.verdict) for trial in tried.trials] == [
        ("work_order_created", "applied"),
        ("res.partner", "held"),
    ]
    assert tried.trials[0].reread["entity_key"]["after"] == "work_order:7"
    assert tried.trials[1].reread == {}
    assert query(database.url, "SELECT t::text FROM cmms.maintenance_event_hooks t ORDER BY sequence") == before
    with database.engine.begin() as connection:
        assert len(put_back(connection, HELD, actor="Ada", reason="mapped", reread=True)) == 1
    assert drain_now(database.url).applied == 1
    assert order_row(database.url, "7")["title"] == "Leak"
    assert [state for state, _ in inbox(database.url)] == ["processed", "held"]
    [(actor, reason, before_, after)] = query(
        database.url, "SELECT actor, reason, before, after FROM cmms.audit_log WHERE action = 'event.reread'"
    )
    assert (actor, reason) == ("Ada", "mapped")
    assert (before_["event_type"], after["event_type"]) == ("maintenance.request", "work_order_created")


def test_an_event_of_a_source_that_is_gone_is_left_alone(database: Database) -> None:
    receive(database, {"_model": "maintenance.request", "id": 7})
    with database.engine.begin() as connection:
        [trial] = dry_run(connection, HELD, reread=True).trials
        assert (trial.verdict, (trial.error or "").partition(":")[0]) == ("held", "unknown_source")
        assert put_back(connection, HELD, actor="Ada", reread=True) == []
    assert inbox(database.url) == [("held", None)]
