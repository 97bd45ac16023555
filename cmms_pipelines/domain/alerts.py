"""What is an alert, how grave it is, and what becomes of it from one look at the system to the next.

What belongs here: severities, findings, the cause that explains others, and the life of an alert (open, raised, repeated,
cleared) as a pure function. What does not: how things are looked at (`storage.alert_signs`), what a message says
(`domain.alert_messages`), and whom it goes to (`domain.alert_configuration`).
"""

import datetime as dt
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

HIGH_SHARE = 0.10
"""More than this share of records failed is high, this much or less is medium (specification, "Error Classification System")."""

LONGEST_FINGERPRINT = 200


class Severity(StrEnum):
    """How grave something is, by the specification's table of error levels; the first is the gravest."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"

    @property
    def rank(self) -> int:
        """Return a number that is the higher the graver."""
        return len(_GRAVEST_FIRST) - _GRAVEST_FIRST.index(self)


_GRAVEST_FIRST = tuple(Severity)


class Trigger(StrEnum):
    """What alerts are raised for; all findings of a trigger are looked for together."""

    SYNC = "sync"
    EXTERNAL_API = "external_api"
    DATABASE = "database"
    INBOX = "inbox"
    DEAD_LETTERS = "dead_letters"
    CONFLICTS = "conflicts"
    REJECTIONS = "rejections"
    MISSING_DAY = "missing_day"
    DAEMON = "daemon"
    CHECK = "check"
    TICK = "tick"
    RUN = "run"


class AlertStatus(StrEnum):
    """Where an alert stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Change(StrEnum):
    """What a look at the system does to an alert."""

    OPENED = "opened"
    RAISED = "raised"
    REPEATED = "repeated"
    UPDATED = "updated"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Finding:
    """Something that is wrong now.

    Attributes:
        trigger, subject: what was looked for, and which one of them it is about; together they are its fingerprint.
        title: what happened, in one line.
        detail: how much, in sentences.
        cause: what it probably comes from, and what to do first.
        since: when it began, as far as it is known.
        figures: the numbers behind it, by name.
        run_id: the Dagster run that shows it.
        explained_by: fingerprints of causes that would explain it.
    """

    trigger: Trigger
    subject: str
    severity: Severity
    title: str
    detail: str
    cause: str
    since: dt.datetime | None = None
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    run_id: str | None = None
    explained_by: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Return what makes two findings the same cause; a long one is cut and told apart by its hash."""
        whole = f"{self.trigger}:{self.subject}" if self.subject else str(self.trigger)
        if len(whole) <= LONGEST_FINGERPRINT:
            return whole
        digest = hashlib.sha256(whole.encode()).hexdigest()[:16]
        return f"{whole[: LONGEST_FINGERPRINT - 17]}~{digest}"


@dataclass(frozen=True)
class KnownAlert:
    """An alert that has not been resolved, as it is stored."""

    id: int
    fingerprint: str
    trigger: Trigger
    severity: Severity
    status: AlertStatus
    last_seen_at: dt.datetime
    notified_severity: Severity
    """the gravest that was told"""
    notified_at: dt.datetime


@dataclass(frozen=True)
class Step:
    """What happens to one alert: what was found, but for a resolution, and what was known, but for a new one."""

    change: Change
    finding: Finding | None
    alert: KnownAlert | None


@dataclass(frozen=True)
class Pace:
    """How often the same cause is told, and how long it must be gone until it counts as cleared."""

    repeat_after: Mapping[Severity, dt.timedelta | None]
    clear_after: dt.timedelta


def severity_of_share(processed: int, failed: int) -> Severity:
    """Return how grave it is that `failed` of `processed` records failed.

    None is info, up to a tenth medium, more than a tenth high, all of them critical: nothing of it succeeded.
    """
    if failed <= 0 or processed <= 0:
        return Severity.INFO
    if failed >= processed:
        return Severity.CRITICAL
    return Severity.HIGH if failed > HIGH_SHARE * processed else Severity.MEDIUM


def severity_of_sync(status: str, *, processed: int, failed: int, warned: int, has_error: bool) -> Severity:
    """Return how grave the end of a sync is.

    Args:
        status: of its log.
        processed: records that the source sent.
        failed: of these, those that were refused.
        warned: records that were stored with a warning.
        has_error: whether parts of it failed that have no records to count, such as a slice that was never fetched.
    """
    if status == "failed":
        return Severity.CRITICAL
    by_share = severity_of_share(processed, failed)
    if has_error and status == "partial":
        return max(by_share, Severity.HIGH, key=lambda severity: severity.rank)
    if by_share is Severity.INFO and warned > 0:
        return Severity.LOW
    return by_share


def is_explained(finding: Finding, findings: Collection[Finding]) -> bool:
    """Tell whether another finding is the cause of this one: one cause is one alert.

    What is high or graver explains anything that names it as its cause, and anything explains what is no graver.
    """
    least = min(finding.severity.rank, Severity.HIGH.rank)
    causes = set(finding.explained_by) - {finding.fingerprint}
    return any(other.fingerprint in causes and other.severity.rank >= least for other in findings)


def plan(
    findings: Collection[Finding], known: Sequence[KnownAlert], looked_for: Collection[Trigger], now: dt.datetime, pace: Pace
) -> list[Step]:
    """Return what happens to the alerts after a look that covered the triggers `looked_for`.

    - A cause that is new opens one alert; while it lasts, it is told again after its repeat interval, not when acknowledged.
    - One that got graver than what was told is told at once, and is no longer acknowledged.
    - One that has been gone for `pace.clear_after` is resolved, also when it was acknowledged.
    - A cause that another one explains opens no alert of its own; one that is open already lasts, quietly, until it is gone.
    - Findings of severity info are no alerts.
    """
    serious = {finding.fingerprint: finding for finding in findings if finding.severity is not Severity.INFO}
    alerts = {alert.fingerprint: alert for alert in known}
    steps = []
    for fingerprint, finding in serious.items():
        alert, is_consequence = alerts.get(fingerprint), is_explained(finding, serious.values())
        if alert is not None:
            change = Change.UPDATED if is_consequence else _change(finding, alert, now, pace)
            steps.append(Step(change, finding, alert))
        elif not is_consequence:
            steps.append(Step(Change.OPENED, finding, None))
    for fingerprint, alert in alerts.items():
        is_gone = alert.trigger in looked_for and fingerprint not in serious
        if is_gone and now - alert.last_seen_at >= pace.clear_after:
            steps.append(Step(Change.RESOLVED, None, alert))
    return steps


def _change(finding: Finding, alert: KnownAlert, now: dt.datetime, pace: Pace) -> Change:
    if finding.severity.rank > alert.notified_severity.rank:
        return Change.RAISED
    every = pace.repeat_after.get(finding.severity)
    is_due = every is not None and now - alert.notified_at >= every
    return Change.REPEATED if is_due and alert.status is AlertStatus.OPEN else Change.UPDATED
