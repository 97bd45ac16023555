"""The inbox and its dead letters in the UI: counts, ages, a preview, a check; and putting events back without a shell."""

from typing import Any

import dagster as dg
import pytest

from cmms_pipelines.defs.maintenance.definitions import build
from cmms_pipelines.defs.maintenance.inbox import DEAD_LETTERS, NO_MISSED_EVENTS, OBSERVE_INBOX, OLDEST_PENDING_UNDER_LIMIT
from cmms_pipelines.defs.maintenance.replay import REPLAY_EVENTS
from cmms_pipelines.defs.resources import SourceSystem, Warehouse
from cmms_pipelines.domain.webhook_source import UNSIGNED_WARNING, WebhookSource
from cmms_pipelines.storage.configurations import WEBHOOK, write_configuration
from tests.conftest import Database
from tests.storage.inbox_world import drain_now, inbox, query, send, work_order

OBSERVE = "inbox_and_dead_letters"


def execute(database: Database, job: str, config: dict[str, Any]) -> dg.ExecuteInProcessResult:
    resources = dg.Definitions(resources={"warehouse": Warehouse(database_url=database.url), "source_system": SourceSystem()})
    definitions = dg.Definitions.merge(build("UTC"), resources)
    with dg.DagsterInstance.ephemeral() as instance:
        return definitions.resolve_job_def(job).execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def observed(result: dg.ExecuteInProcessResult) -> dict[dg.AssetKey, dict[str, Any]]:
    events = [event.asset_observation_data.asset_observation for event in result.all_events if event.is_asset_observation]
    return {found.asset_key: {name: value.value for name, value in found.metadata.items()} for found in events}


@pytest.mark.parametrize(("waits_min", "limit_s", "passes"), [(0, 60.0, True), (5, 60.0, False), (5, 600.0, True)])
def test_an_observation_shows_counts_ages_and_previews_and_checks_what_waits(
    database: Database, waits_min: int, limit_s: float, passes: bool
) -> None:
    send(database.url, "work_order_updated", {"work_order_number": "1", "status": "exploded"})
    drain_now(database.url)
    work_order(database.url, "2", title="A")
    statement = "UPDATE cmms.maintenance_event_hooks SET created_at = created_at - make_interval(mins => %s) WHERE sequence = 2"
    query(database.url, statement, waits_min)
    result = execute(database, OBSERVE_INBOX, {"ops": {OBSERVE: {"config": {"oldest_due_s": limit_s}}}})
    assert result.success
    found = observed(result)
    shown = found[dg.AssetKey(["cmms", "maintenance_event_hooks"])]
    assert (shown["events_pending"], shown["events_dead_letter"], shown["drain"]) == (1, 1, "absent")
    assert waits_min * 60 <= shown["oldest_due_s"] < waits_min * 60 + 60
    assert [record.data["processing_status"] for record in shown["newest_events"].records] == ["pending", "dead_letter"]
    assert found[DEAD_LETTERS]["dead_letters"] == 1
    assert [record.data["rule"] for record in found[DEAD_LETTERS]["causes"].records] == ["invalid_payload"]
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks == {OLDEST_PENDING_UNDER_LIMIT: passes, NO_MISSED_EVENTS: True}


def test_an_observation_lists_the_sources_and_marks_those_that_sign_nothing(database: Database) -> None:
    with database.engine.begin() as connection:
        for name, source in (("odoo", {"scheme": "unsigned", "allow_unsigned": True}), ("plant-cmms", {})):
            configuration = WebhookSource.model_validate(source).model_dump(mode="json")
            write_configuration(connection, name, WEBHOOK, configuration, actor="tests")
    shown = observed(execute(database, OBSERVE_INBOX, {}))[dg.AssetKey(["cmms", "maintenance_event_hooks"])]
    listed = {record.data["source"]: record.data["warnings"] for record in shown["sources"].records}
    assert listed == {"odoo": UNSIGNED_WARNING, "plant-cmms": ""}


def test_the_replay_job_says_first_what_it_would_do_and_replays_when_told(database: Database) -> None:
    send(database.url, "work_order_updated", {"work_order_number": "1", "status": "exploded"})
    drain_now(database.url)
    query(database.url, """UPDATE cmms.maintenance_event_hooks SET event_payload = event_payload || '{"status": "open"}'""")
    config: dict[str, Any] = {"types": ["work_order_updated"]}
    tried = execute(database, REPLAY_EVENTS, {"ops": {"put_events_back": {"config": config}}})
    assert tried.success
    [output] = [event.step_output_data for event in tried.all_events if event.is_successful_output]
    assert [record.data["verdict"] for record in output.metadata["trials"].value.records] == ["applied"]
    assert inbox(database.url)[0][0] == "dead_letter"
    done = execute(database, REPLAY_EVENTS, {"ops": {"put_events_back": {"config": config | {"dry_run": False, "by": "Ada"}}}})
    assert done.success
    assert drain_now(database.url).applied == 1
    [(actor, run_id)] = query(database.url, "SELECT actor, dagster_run_id FROM cmms.audit_log WHERE action = 'event.replayed'")
    assert (actor, run_id) == ("Ada", done.run_id)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "Say which events"),
        ({"received_since": "2026-01-31"}, "no offset"),
        ({"statuses": ["lost"]}, "lost"),
        ({"ids": ["7"]}, "UUID"),
    ],
)
def test_a_choice_that_cannot_be_meant_fails_the_step_with_one_sentence(
    database: Database, config: dict[str, Any], said: str
) -> None:
    result = execute(database, REPLAY_EVENTS, {"ops": {"put_events_back": {"config": config}}})
    assert not result.success
    [failure] = [event.step_failure_data for event in result.all_events if event.is_step_failure]
    assert failure.user_failure_data is not None
    assert said in (failure.user_failure_data.description or "")
