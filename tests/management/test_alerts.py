"""Alerts over HTTP: listed, read with what was sent, taken by an operator."""

from datetime import UTC, datetime

from cmms_pipelines.domain.alerts import Change, Finding, Severity, Step, Trigger
from cmms_pipelines.domain.roles import Role
from cmms_pipelines.storage import alerts
from tests.management.conftest import Api, problem


def open_alert(api: Api, subject: str, severity: Severity = Severity.HIGH) -> int:
    finding = Finding(Trigger.RUN, subject, severity, f"The last run of {subject} failed", "detail", "cause", figures={"runs": 1})
    with api.database.engine.begin() as connection:
        return alerts.apply(connection, Step(Change.OPENED, finding, None), datetime.now(UTC)).id


def test_alerts_are_listed_in_pages_read_and_taken_once_by_an_operator(shared_api: Api) -> None:
    numbers = [open_alert(shared_api, name, severity) for name, severity in (("a", Severity.HIGH), ("b", Severity.LOW))]
    page = shared_api.read("/alerts", limit=1)
    assert (page["alerts"][0]["id"], page["next_before"], page["standing"]["high"]) == (numbers[1], numbers[1], 1)
    assert shared_api.read("/alerts", before=page["next_before"])["alerts"][0]["id"] == numbers[0]
    assert [row["id"] for row in shared_api.read("/alerts", severity="high")["alerts"]] == [numbers[0]]
    read = shared_api.read(f"/alerts/{numbers[0]}")
    assert (read["cause"], read["figures"], read["deliveries"]) == ("cause", {"runs": 1}, [])
    path = f"/alerts/{numbers[0]}/acknowledge"
    problem(shared_api.ask("POST", path, Role.VIEWER), 403)
    taken = shared_api.ask("POST", path, Role.OPERATOR, json={"note": "known"})
    assert (taken.status_code, taken.json()["status"], taken.json()["acknowledgement"]) == (200, "acknowledged", "known")
    assert [entry["reason"] for entry in shared_api.audit("alert.acknowledged")] == ["known"]
    problem(shared_api.ask("POST", "/alerts/999/acknowledge", Role.OPERATOR), 404)
    problem(shared_api.ask("GET", "/alerts/999", Role.VIEWER), 404)
    with shared_api.database.engine.begin() as connection:
        known = next(alert for alert in alerts.known_alerts(connection) if alert.id == numbers[0])
        alerts.apply(connection, Step(Change.RESOLVED, None, known), datetime.now(UTC))
    problem(shared_api.ask("POST", path, Role.OPERATOR), 409)
