"""What the specification's error levels, bands and the life of an alert promise, as pure functions."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.alert_bands import usual_band
from cmms_pipelines.domain.alert_configuration import AlertConfiguration
from cmms_pipelines.domain.alert_findings import SyncFacts, missing_day_findings, outstanding, sync_findings
from cmms_pipelines.domain.alert_messages import Subject, message
from cmms_pipelines.domain.alerts import (
    LONGEST_FINGERPRINT,
    AlertStatus,
    Change,
    Finding,
    KnownAlert,
    Severity,
    Trigger,
    plan,
    severity_of_share,
    severity_of_sync,
)

NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
PACE = AlertConfiguration().pace()


def sync(number: int, status: str = "success", **fields: Any) -> SyncFacts:  # noqa: ANN401 - any field
    """A finished sync of equipment; a higher number is a later one."""
    at = NOW + dt.timedelta(hours=number)
    given = {
        "processed": 100,
        "failed": 0,
        "warned": 0,
        "error_message": None,
        "run_id": f"run-{number}",
        "scope": {"plants": "all"},
    }
    if status == "failed":
        given |= {"processed": 0, "error_message": "the token is refused"}
    return SyncFacts(id=number, sync_type="equipment", status=status, started_at=at, completed_at=at, **{**given, **fields})


def finding(severity: Severity = Severity.HIGH, subject: str = "equipment", **fields: Any) -> Finding:  # noqa: ANN401 - any field
    return Finding(Trigger.SYNC, subject, severity, "a title", "a detail", "a cause", **fields)


def known(severity: Severity = Severity.HIGH, minutes: int = 0, **fields: Any) -> KnownAlert:  # noqa: ANN401 - any field
    """An open alert that was told, and last seen, so many minutes ago."""
    at = NOW - dt.timedelta(minutes=minutes)
    alert = KnownAlert(1, "sync:equipment", Trigger.SYNC, severity, AlertStatus.OPEN, at, severity, at)
    return replace(alert, **fields)


def changes(findings: list[Finding], alerts: list[KnownAlert], *looked_for: Trigger) -> list[Change]:
    return [step.change for step in plan(findings, alerts, looked_for or tuple(Trigger), NOW, PACE)]


@pytest.mark.parametrize(
    ("failed", "severity"),
    [
        (0, Severity.INFO),
        (1, Severity.MEDIUM),
        (99, Severity.MEDIUM),
        (100, Severity.MEDIUM),
        (101, Severity.HIGH),
        (999, Severity.HIGH),
        (1000, Severity.CRITICAL),
    ],
)
def test_the_share_of_failed_records_makes_the_severity_exact_at_the_borders(failed: int, severity: Severity) -> None:
    assert severity_of_share(1000, failed) is severity  # 0, 0.1, 9.9, 10, 10.1, 99.9 and 100 %
    assert severity_of_share(0, 0) is Severity.INFO


@pytest.mark.parametrize(
    ("facts", "severity"),
    [
        (sync(1), Severity.INFO),
        (sync(1, warned=3), Severity.LOW),
        (sync(1, failed=10), Severity.MEDIUM),
        (sync(1, "partial", failed=11), Severity.HIGH),
        (sync(1, "partial", failed=100), Severity.CRITICAL),
        (sync(1, "partial", error_message="1 slices failed"), Severity.HIGH),
        (sync(1, "failed"), Severity.CRITICAL),
    ],
)
def test_a_sync_is_as_grave_as_what_became_of_its_records(facts: SyncFacts, severity: Severity) -> None:
    assert facts.severity is severity


@given(st.integers(1, 10**7), st.integers(0, 10**7))
def test_more_failures_are_never_less_grave(processed: int, failed: int) -> None:
    failed = min(failed, processed)
    if failed < processed:
        assert severity_of_share(processed, failed + 1).rank >= severity_of_share(processed, failed).rank
    assert (severity_of_share(processed, failed) is Severity.HIGH) == (processed > failed and 10 * failed > processed)
    statuses = {severity_of_sync("failed", processed=processed, failed=failed, warned=0, has_error=True)}
    assert statuses == {Severity.CRITICAL}


def test_a_sync_that_failed_is_made_good_by_one_that_takes_in_its_scope_and_by_no_other() -> None:
    failed = sync(1, "failed", scope={"plants": ["A"], "from": "2026-03-01", "to": "2026-03-03"})
    elsewhere = sync(2, scope={"plants": ["B"], "from": "2026-03-01", "to": "2026-03-03"})
    earlier_days = sync(3, scope={"plants": "all", "from": "2026-01-01", "to": "2026-01-31"})
    next_night = sync(4, scope={"plants": "all", "from": "2026-03-02", "to": "2026-03-04"})
    assert failed in outstanding([earlier_days, elsewhere, failed])
    assert outstanding([next_night, elsewhere, failed])[0] is next_night
    assert failed not in outstanding([next_night, elsewhere, failed])


def test_failures_in_a_row_are_critical_and_attempts_of_one_run_count_once() -> None:
    part = {"error_message": "1 slices failed", "processed": 50}
    twice = [sync(3, "partial", **part), sync(2, "partial", run_id="run-3", **part), sync(1, "partial", **part)]
    (one,) = sync_findings(twice, consecutive_failures=3)
    assert one.severity is Severity.HIGH
    (one,) = sync_findings([sync(4, "partial", **part), *twice], consecutive_failures=3)
    assert (one.severity, "3 times in a row" in one.title, one.since) == (Severity.CRITICAL, True, sync(1).started_at)
    assert sync_findings([sync(5), *twice], consecutive_failures=3) == []


def test_a_source_that_does_not_answer_is_one_alert_and_not_one_for_each_sync() -> None:
    away = {"has_api_call": True, "has_api_error": True, "error_message": "the source does not answer"}
    found = sync_findings([sync(2, "failed", **away), replace(sync(1, "failed", **away), sync_type="plants")], 3)
    assert {one.fingerprint for one in found} == {"external_api", "sync:equipment", "sync:plants"}
    steps = plan(found, [], tuple(Trigger), NOW, PACE)
    assert [(step.change, step.finding and step.finding.fingerprint) for step in steps] == [(Change.OPENED, "external_api")]
    refused = sync(3, "failed", **{**away, "api_status": 401})
    assert [one.fingerprint for one in sync_findings([refused], 3)] == ["sync:equipment"]  # it answers: no
    assert sync_findings([sync(4, has_api_call=True), refused], 3) == []


def test_the_same_cause_is_told_once_and_again_after_its_interval() -> None:
    assert changes([finding()], []) == [Change.OPENED]
    assert changes([finding()], [known(minutes=239)]) == [Change.UPDATED]
    assert changes([finding()], [known(minutes=240)]) == [Change.REPEATED]
    assert changes([finding(Severity.CRITICAL)], [known(Severity.CRITICAL, minutes=60)]) == [Change.REPEATED]
    assert changes([finding(Severity.LOW)], [known(Severity.LOW, minutes=10**6)]) == [Change.UPDATED]
    assert changes([finding(Severity.INFO)], []) == []


def test_an_acknowledged_alert_is_silent_until_it_gets_graver_or_is_over() -> None:
    taken = known(minutes=1000, status=AlertStatus.ACKNOWLEDGED)
    assert changes([finding()], [taken]) == [Change.UPDATED]
    assert changes([finding(Severity.CRITICAL)], [taken]) == [Change.RAISED]
    assert changes([finding(Severity.MEDIUM)], [replace(taken, notified_severity=Severity.HIGH)]) == [Change.UPDATED]
    assert changes([], [taken]) == [Change.RESOLVED]


def test_only_what_was_looked_for_and_has_been_gone_for_a_while_is_over() -> None:
    assert changes([], [known(minutes=1)]) == []
    assert changes([], [known(minutes=2)]) == [Change.RESOLVED]
    assert changes([], [known(minutes=60)], Trigger.INBOX) == []


def test_a_consequence_opens_no_alert_and_one_that_is_open_lasts_quietly() -> None:
    cause = Finding(Trigger.EXTERNAL_API, "", Severity.CRITICAL, "t", "d", "c")
    consequence = finding(Severity.CRITICAL, explained_by=("external_api",))
    assert changes([cause, consequence], []) == [Change.OPENED]
    assert changes([cause, consequence], [known(Severity.HIGH, minutes=999)]) == [Change.OPENED, Change.UPDATED]
    assert changes([replace(cause, severity=Severity.MEDIUM), consequence], []) == [Change.OPENED, Change.OPENED]


def test_many_plants_without_a_day_are_one_cause() -> None:
    day = dt.date(2026, 3, 1)
    few = missing_day_findings({"A": [day], "B": [day]}, plants=9, named_one_by_one=5, paused=None)
    assert [one.fingerprint for one in few] == ["missing_day:A", "missing_day:B"]
    (many,) = missing_day_findings({str(n): [day] for n in range(6)}, plants=9, named_one_by_one=5, paused="by jane: a move")
    assert (many.fingerprint, "6 of 9 plants" in many.title, "by jane" in many.cause) == ("missing_day", True, True)


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ([10, 12, 8, 11, 9], 10 - 3 * 1.4826, 10 + 3 * 1.4826),  # the deviations are 0, 2, 2, 1, 1: their median is 1
        ([0, 0, 0, 0, 0, 400], 0, 3),  # MAD is 0: the floor speaks, and one odd day widens nothing
        ([100, 100, 100, 100], 75, 125),  # MAD is 0: a quarter of the median
    ],
)
def test_the_band_is_the_median_and_three_robust_deviations_with_a_floor(counts: list[float], low: float, high: float) -> None:
    band = usual_band(counts, least_days=4, floor=3, floor_share=0.25)
    assert band is not None
    assert (band.low, band.high) == pytest.approx((low, high))
    assert not band.is_above(band.high)
    assert band.is_above(band.high + 0.001)


def test_without_a_history_nothing_is_odd() -> None:
    assert usual_band([1, 2, 3], least_days=4, floor=3, floor_share=0) is None


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"routes": {"critical": ["mail"]}}, "do not exist: mail"),
        ({"channels": {"mail": {}}}, "either url_env or url_sealed"),
        ({"channels": {"mail": {"url_env": "mailto://user:secret@example.org"}}}, "never the URL itself"),
        ({"channels": {"MAIL": {"url_env": "MAIL_URL"}}}, "no name of a channel"),
        ({"thresholds": {"consecutive_failures": 1}}, "greater than or equal to 2"),
        ({"treshholds": {}}, "Extra inputs"),
    ],
)
def test_a_bad_configuration_is_refused_with_its_reason(given: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        AlertConfiguration.model_validate(given)


def test_a_long_fingerprint_is_cut_and_stays_its_own() -> None:
    one, other = (Finding(Trigger.CHECK, "x" * 300 + end, Severity.HIGH, "t", "d", "c").fingerprint for end in "ab")
    assert len(one) == len(other) == LONGEST_FINGERPRINT
    assert one != other


def test_a_message_says_what_since_when_how_much_why_and_where() -> None:
    subject = Subject(
        7, "sync:equipment", Severity.CRITICAL, "The sync of equipment failed completely", "Sync 4 (all plants): 0 records.",
        "401: the token is refused", NOW - dt.timedelta(minutes=95), 1, {"records": 12345}, "run-1",
    )  # fmt: skip
    text = message(Change.OPENED, subject, NOW, "https://cmms.example.org")
    assert text.title == "[critical] The sync of equipment failed completely"
    for part in (
        "Sync 4 (all plants): 0 records.", "Since: 2026-03-02 10:25 UTC, for 1 h 35 min", "How much: records 12,345",
        "Probable cause: 401: the token is refused", "https://cmms.example.org/runs/run-1", "cmms alerts ack 7",
    ):  # fmt: skip
        assert part in text.body
    over = message(Change.RESOLVED, subject, NOW, "https://cmms.example.org")
    assert over.title.startswith("[critical] resolved: ")
    assert "Probable cause" not in over.body
