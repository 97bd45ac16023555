"""One round of alerts: look, decide, store, send.

What belongs here: the order of these, and one transaction for what is decided. What does not: each of them, and when a round is
made (`notify.watch`, `defs.operations.alerts`).
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog
from cryptography.fernet import MultiFernet

from cmms_pipelines.domain.alert_configuration import AlertConfiguration, Thresholds
from cmms_pipelines.domain.alert_messages import Subject, message
from cmms_pipelines.domain.alerts import Change, Finding, Severity, Trigger, plan
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.notify.channels import send
from cmms_pipelines.storage import alert_days, alert_deliveries, alert_signs, alerts
from cmms_pipelines.storage.alert_configuration import open_address, read_alert_configuration
from cmms_pipelines.storage.alert_deliveries import Delivery

SENT_AT_ONCE = 100
_LOOKS: Mapping[Trigger, Callable[[sa.Connection, dt.datetime, Thresholds], list[Finding]]] = {
    Trigger.SYNC: alert_signs.sync_findings,
    Trigger.INBOX: alert_signs.inbox_findings,
    Trigger.DEAD_LETTERS: alert_signs.dead_letter_findings,
    Trigger.CONFLICTS: alert_signs.conflict_findings,
    Trigger.MISSING_DAY: alert_days.missing_days,
    Trigger.REJECTIONS: alert_days.refusals_beyond_usual,
}
OF_DAYS = frozenset({Trigger.MISSING_DAY, Trigger.REJECTIONS})
"""Triggers that take longer to look for, and that change by the day."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Look:
    """What was found, and for which triggers it was looked: an alert of another trigger says nothing by its absence."""

    findings: Sequence[Finding] = ()
    looked_for: frozenset[Trigger] = frozenset()

    def __add__(self, other: "Look") -> "Look":
        return Look((*self.findings, *other.findings), self.looked_for | other.looked_for)


MoreSigns = Callable[[dt.datetime, Thresholds], Look]
"""What somebody else looks for: Dagster's own signs, and whether its database answers (`Trigger.DATABASE`, as ours does)."""


def nothing_more(_now: dt.datetime, _thresholds: Thresholds) -> Look:
    """Find nothing; since it was our database that said so, it answers."""
    return Look(looked_for=frozenset({Trigger.DATABASE}))


@dataclass(frozen=True)
class Told:
    """A change of an alert that somebody is told of."""

    change: Change
    subject: Subject


@dataclass
class Round:
    """What a round did."""

    told: list[Told] = field(default_factory=list)
    delivered: int = 0
    failed: int = 0

    def figures(self) -> dict[str, int]:
        """Return how many alerts changed how, and how many messages went out."""
        changes = Counter(one.change for one in self.told)
        named = {f"alerts_{change}": changes[change] for change in Change if change is not Change.UPDATED}
        return {**named, "messages_delivered": self.delivered, "messages_failed": self.failed}


def look(engine: sa.Engine, now: dt.datetime, thresholds: Thresholds, *, with_days: bool = True) -> Look:
    """Look for everything that our own database shows."""
    wanted = {trigger: search for trigger, search in _LOOKS.items() if with_days or trigger not in OF_DAYS}
    with engine.connect() as connection:
        findings = [finding for search in wanted.values() for finding in search(connection, now, thresholds)]
    return Look(findings, frozenset(wanted) | {Trigger.EXTERNAL_API})


def settle(engine: sa.Engine, seen: Look, configuration: AlertConfiguration, now: dt.datetime, dagster_url: str) -> list[Told]:
    """Store what a look changes, and queue the messages about it, in one transaction; nothing while somebody else does so."""
    told = []
    with engine.begin() as connection:
        if not alerts.take_turn(connection):
            return []
        known = alerts.known_alerts(connection)
        for step in plan(seen.findings, known, seen.looked_for, now, configuration.pace()):
            subject = alerts.apply(connection, step, now)
            if step.change is Change.UPDATED:
                continue
            told.append(Told(step.change, subject))
            channels = list(configuration.routes.of(subject.severity))
            if step.change is Change.RESOLVED:
                channels = alert_deliveries.told_channels(connection, subject.id)
            text = message(step.change, subject, now, dagster_url)
            alert_deliveries.queue(connection, subject, channels, step.change, text, now=now)
    for one in told:
        _log_change(one)
    return told


def make_round(
    engine: sa.Engine,
    box: MultiFernet,
    environment: Mapping[str, str],
    *,
    clock: Callable[[], dt.datetime],
    dagster_url: str,
    more_signs: MoreSigns = nothing_more,
) -> Round:
    """Look for everything, store what has changed, and send what is due.

    Raises:
        PermanentError: the configuration of alerts is not usable.
    """
    now = clock()
    with engine.connect() as connection:
        configuration = read_alert_configuration(connection)
    seen = look(engine, now, configuration.thresholds) + more_signs(now, configuration.thresholds)
    made = Round(settle(engine, seen, configuration, now, dagster_url))
    made.delivered, made.failed = deliver(engine, configuration, box, environment, clock)
    return made


def deliver(
    engine: sa.Engine,
    configuration: AlertConfiguration,
    box: MultiFernet,
    environment: Mapping[str, str],
    clock: Callable[[], dt.datetime],
) -> tuple[int, int]:
    """Send what is due, oldest first; return how many messages arrived and how many did not.

    A channel that fails is left alone until its next attempt, with all that is due to it: no storm, and one line in the log.
    A message is sent while its row is locked, so two who deliver at the same time never send it twice.
    """
    delivered, down = 0, set[str]()
    for _ in range(SENT_AT_ONCE):
        with engine.begin() as connection:
            delivery = alert_deliveries.claim(connection, clock(), down)
            if delivery is None:
                break
            try:
                _send(delivery, configuration, box, environment)
            except (TransientError, PermanentError) as error:
                down.add(delivery.channel)
                again = alert_deliveries.note_failed(connection, delivery, str(error), clock())
                if delivery.attempts == 0 or again is None:
                    _log.warning("alert_not_delivered", channel=delivery.channel, reason=str(error), gives_up=again is None)
            else:
                alert_deliveries.note_delivered(connection, delivery, clock())
                delivered += 1
    return delivered, len(down)


def _send(delivery: Delivery, configuration: AlertConfiguration, box: MultiFernet, environment: Mapping[str, str]) -> None:
    channel = configuration.channels.get(delivery.channel)
    if channel is None:
        raise PermanentError("There is no such channel any more.")
    address = open_address(channel, box, environment)
    send(address, delivery.message, delivery.severity, is_good_news=delivery.is_good_news)


def _log_change(one: Told) -> None:
    subject = one.subject
    write = _log.error if subject.severity in (Severity.CRITICAL, Severity.HIGH) else _log.warning
    if one.change is Change.RESOLVED:
        write = _log.info
    write(
        f"alert_{one.change}",
        alert=subject.id,
        fingerprint=subject.fingerprint,
        severity=subject.severity.value,
        title=subject.title,
        run_id=subject.run_id,
    )
