"""Alerts reach people over a real mail server and a real HTTP sink: once, again after a while, and with their end."""

import logging

import pytest
from pydantic import SecretStr

from cmms_pipelines.domain.alert_messages import Message
from cmms_pipelines.domain.alerts import Finding, Severity, Trigger
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.reports import SyncStatus
from cmms_pipelines.notify.channels import described, send
from cmms_pipelines.notify.rounds import Look
from cmms_pipelines.notify.trial import try_channels
from cmms_pipelines.storage import alerts
from cmms_pipelines.storage.alert_configuration import read_alert_configuration, shown
from tests.alerts.conftest import SECRET, UI, World
from tests.alerts.test_triggers import CLEARED, end_sync
from tests.storage.inbox_world import query


def delivery_rows(world: World) -> list[tuple[str, str, str, int]]:
    statement = "SELECT channel, kind, status, attempts FROM cmms.alert_deliveries ORDER BY id"
    return [tuple(row) for row in query(world.database.url, statement)]


def test_nothing_is_sent_until_channels_are_configured_and_everything_is_listed(world: World) -> None:
    end_sync(world, SyncStatus.FAILED, "no")
    made = world.look(minutes=4)
    assert (made.figures()["alerts_opened"], world.standing(), delivery_rows(world)) == (1, {"sync:equipment": "critical"}, [])


def test_a_critical_alert_goes_to_mail_and_chat_a_high_one_to_mail_and_a_medium_one_nowhere(world: World) -> None:
    world.configure()
    end_sync(world, SyncStatus.FAILED, "401: the token is refused")
    world.look(minutes=4)
    assert world.mail.subjects() == ["[critical] The sync of equipment failed completely"]
    for part in ("Probable cause: 401: the token is refused", f"{UI}/runs/run-4711", "Since: "):
        assert part in world.mail.text()
    assert [body["title"] for body in world.chat.bodies] == world.mail.subjects()
    query(world.database.url, "UPDATE cmms.alerts SET status = 'resolved', resolved_at = now()")
    end_sync(world, SyncStatus.PARTIAL, refused=101)
    world.look(minutes=1)
    assert (world.mail.subjects()[1:], len(world.chat.bodies)) == (
        ["[high] The sync of equipment refused 10.1 % of its records"],
        1,
    )
    query(world.database.url, "UPDATE cmms.alerts SET status = 'resolved', resolved_at = now()")
    end_sync(world, refused=100)
    world.look(minutes=1)
    assert (len(world.mail.mails), world.standing()) == (2, {"sync:equipment": "medium"})


def test_a_cause_is_told_once_again_after_its_interval_and_when_it_is_over(world: World) -> None:
    world.configure()
    end_sync(world, SyncStatus.FAILED, "no")
    for minutes in (4, 1, 58.9, 0.2, 59):
        world.look(minutes=minutes)
    kinds = ["[critical] The", "[critical] still: The"]
    assert [
        " ".join(subject.split()[: len(kind.split())]) for subject, kind in zip(world.mail.subjects(), kinds, strict=True)
    ] == kinds
    end_sync(world)
    world.look(minutes=CLEARED)
    assert world.mail.subjects()[2:] == ["[critical] resolved: The sync of equipment failed completely"]
    assert [body["type"] for body in world.chat.bodies] == ["failure", "failure", "success"]
    world.look(minutes=100)
    assert len(world.mail.mails) == 3


def test_an_acknowledged_alert_is_not_repeated_and_its_end_is_told(world: World) -> None:
    world.configure()
    end_sync(world, SyncStatus.PARTIAL, refused=200)
    world.look(minutes=1)
    (alert,) = world.alerts()
    with world.database.engine.begin() as connection:
        alerts.acknowledge(connection, alert["id"], actor="jane", note="I am at it")
    world.look(minutes=1000)
    assert len(world.mail.mails) == 1
    end_sync(world, SyncStatus.PARTIAL, refused=1000)
    world.look(minutes=1)
    assert world.mail.subjects()[1:] == ["[critical] graver: The sync of equipment failed completely"]
    (alert,) = world.alerts()
    assert (alert["status"], alert["acknowledged_by"]) == ("open", None)
    end_sync(world)
    world.look(minutes=CLEARED)
    assert "resolved" in world.mail.subjects()[2]
    with world.database.engine.begin() as connection, pytest.raises(alerts.ResolvedAlertError):
        alerts.acknowledge(connection, alert["id"], actor="jane", note=None)
    assert query(world.database.url, "SELECT actor, reason FROM cmms.audit_log WHERE action = 'alert.acknowledged'") == [
        ("jane", "I am at it")
    ]


def test_a_channel_that_is_down_is_tried_again_later_and_says_it_all_in_one_message(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.configure()
    world.chat.status = 500
    world.mail.stop()
    end_sync(world, SyncStatus.FAILED, "no")
    with caplog.at_level(logging.DEBUG):
        made = world.look(minutes=4)
        assert (made.delivered, made.failed) == (0, 2)
        world.look(minutes=0.4)
        assert world.chat.requests == 1  # not before half a minute
        world.look(minutes=0.2)
        assert world.chat.requests == 2
        world.look(minutes=0.9)
        assert world.chat.requests == 2  # the wait has doubled
    assert {row[2:] for row in delivery_rows(world)} == {("pending", 2)}
    world.chat.status = 200
    world.mail.start()
    end_sync(world)
    world.look(minutes=CLEARED)
    assert [subject.split(":")[0] for subject in world.mail.subjects()] == ["[critical] resolved"]
    assert len(world.chat.bodies) == 1
    assert {row[1:3] for row in delivery_rows(world)} == {("opened", "superseded"), ("resolved", "delivered")}
    assert SECRET not in caplog.text


def test_one_channel_that_is_down_holds_up_no_other(world: World) -> None:
    world.configure()
    world.mail.refusal = "451 later"
    end_sync(world, SyncStatus.FAILED, "no")
    made = world.look(minutes=4)
    assert (made.delivered, made.failed, len(world.chat.bodies)) == (1, 1, 1)
    world.mail.refusal = None
    world.look(minutes=1)
    assert len(world.mail.mails) == len(world.chat.bodies) == 1


def test_no_secret_of_a_channel_is_stored_shown_or_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.configure()
    world.chat.status = 403
    with caplog.at_level(logging.DEBUG):
        rows = try_channels(world.database.engine, world.box, world.environment, channels=(), now=world.now, dagster_url=UI)
    assert [(row["channel"], row["is_delivered"], row["severities"]) for row in rows] == [
        ("chat", False, ["critical"]), ("mail", True, ["critical", "high"]),
    ]  # fmt: skip
    with world.database.engine.connect() as connection:
        told = shown(read_alert_configuration(connection))
    stored = query(world.database.url, "SELECT row_to_json(d)::text FROM cmms.alert_deliveries d")
    audited = query(world.database.url, "SELECT row_to_json(a)::text FROM cmms.audit_log a")
    for text in (str(rows), str(told), str(stored), str(audited), world.stored_configuration(), caplog.text):
        assert SECRET not in text
    assert told["channels"]["chat"] == {"url": "sealed"}
    assert "trial" in world.mail.subjects()[0]


def test_what_a_library_says_of_an_address_comes_without_its_secrets() -> None:
    address = SecretStr(f"slack://T12345678/B12345678/{SECRET.replace('-', '')}aaaaaaaaaaa/#ops")
    assert described(address) == "Slack"
    with pytest.raises(PermanentError, match="none that Apprise understands"):
        send(SecretStr(f"no-such-service://{SECRET}"), Message("t", "b"), Severity.HIGH)
    with pytest.raises(TransientError) as caught:
        send(SecretStr(f"json://user:{SECRET}@127.0.0.1:1/{SECRET}?cto=1"), Message("t", "b"), Severity.HIGH)
    assert SECRET not in str(caught.value)


def test_a_configuration_keeps_sealed_addresses_that_are_named_again_without_one(world: World) -> None:
    world.configure()
    world.configure(channels={"mail": {"url_env": "OPS_MAIL_URL"}, "chat": {}})
    world.look(more_signs=lambda _now, _thresholds: Look([Finding(Trigger.RUN, "a", Severity.CRITICAL, "t", "d", "c")]))
    assert len(world.chat.bodies) == 1
    with pytest.raises(PermanentError, match="routes"):
        world.configure(routes={"high": ["pager"]})
