"""What a message about an alert says, in plain text: what happened, since when, how much, why probably, and where to look.

What belongs here: wording. What does not: when one is sent (`domain.alerts`) and how (`notify`).
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from cmms_pipelines.domain.alerts import Change, Severity

LONGEST_TITLE = 300
_WORDS = {
    Change.OPENED: "",
    Change.RAISED: "graver: ",
    Change.REPEATED: "still: ",
    Change.RESOLVED: "resolved: ",
}


@dataclass(frozen=True)
class Subject:
    """The alert that a message is about, as it stands when the message is written."""

    id: int
    """0 where it cannot be stored yet: the database is away."""
    fingerprint: str
    severity: Severity
    title: str
    detail: str
    cause: str
    first_seen_at: dt.datetime
    occurrences: int
    figures: Mapping[str, float | int | str]
    run_id: str | None
    acknowledged_by: str | None = None


@dataclass(frozen=True)
class Message:
    """What is sent."""

    title: str
    body: str


def message(change: Change, subject: Subject, now: dt.datetime, dagster_url: str) -> Message:
    """Return the message about a change of an alert.

    Args:
        change: what happened to it; an update alone is never told.
        subject: the alert.
        now: when it is told.
        dagster_url: where people reach the Dagster UI, without a slash at the end.
    """
    title = f"[{subject.severity}] {_WORDS[change]}{subject.title}"[:LONGEST_TITLE]
    lasted = _duration(now - subject.first_seen_at)
    when = f"{_instant(subject.first_seen_at)}, for {lasted}" + (" in all" if change is Change.RESOLVED else "")
    lines = [subject.detail, "", f"Since: {when}"]
    if subject.figures:
        lines.append("How much: " + ", ".join(f"{_words(name)} {_number(value)}" for name, value in subject.figures.items()))
    if change is not Change.RESOLVED:
        lines.append(f"Probable cause: {subject.cause}")
    if subject.acknowledged_by:
        lines.append(f"Acknowledged by {subject.acknowledged_by}")
    if subject.run_id:
        lines.append(f"Run: {dagster_url}/runs/{subject.run_id}")
    lines.append(f"All alerts: {dagster_url}/assets/cmms/alerts")
    if change is not Change.RESOLVED and subject.id:
        lines.append(f"Acknowledge: cmms alerts ack {subject.id}, or the job acknowledge_alert with alert {subject.id}")
    lines.append(f"Alert {subject.id or 'without a number yet'} ({subject.fingerprint})")
    return Message(title, "\n".join(lines).strip())


def trial_message(channel: str, now: dt.datetime, dagster_url: str) -> Message:
    """Return the message of `cmms alerts test`."""
    body = f"Channel {channel} works. This is a trial of {_instant(now)}; nothing is wrong.\nDagster: {dagster_url}"
    return Message(f"[{Severity.INFO}] CMMS Pipelines: a trial message", body)


def _instant(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _duration(span: dt.timedelta) -> str:
    minutes = max(0, int(span.total_seconds() // 60))
    days, minutes = divmod(minutes, 24 * 60)
    hours, minutes = divmod(minutes, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _number(value: float | str) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value
