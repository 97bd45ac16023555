"""The log of what is sent about alerts, and the queue of what is still to be sent.

What belongs here: queueing, claiming, and noting how an attempt ended. What does not: sending (`notify`).
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cmms_pipelines.domain.alert_messages import Message, Subject
from cmms_pipelines.domain.alerts import Change, Severity
from cmms_pipelines.storage.tables import alert_deliveries

TRIAL = "trial"
REPORT = "report"
GIVEN_UP_AFTER = dt.timedelta(days=3)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 30, 3600
_PENDING, _DELIVERED, _SUPERSEDED, _GIVEN_UP = "pending", "delivered", "superseded", "given_up"


@dataclass(frozen=True)
class Delivery:
    """A message on its way to one channel."""

    id: int
    channel: str
    severity: Severity
    message: Message
    attempts: int
    created_at: dt.datetime
    is_good_news: bool = False


def queue(
    connection: sa.Connection, subject: Subject, channels: Sequence[str], change: Change, message: Message, *, now: dt.datetime
) -> None:
    """Have a message sent to channels; what a channel has not been told of this alert yet, the newer message says too."""
    table = alert_deliveries.c
    for channel in dict.fromkeys(channels):
        older = (table.alert_id == subject.id, table.channel == channel, table.status == _PENDING)
        connection.execute(sa.update(alert_deliveries).where(*older).values(status=_SUPERSEDED))
        connection.execute(
            sa.insert(alert_deliveries).values(
                alert_id=subject.id,
                channel=channel,
                kind=change.value,
                severity=subject.severity.value,
                title=message.title,
                body=message.body,
                next_attempt_at=now,
                created_at=now,
            )
        )


def told_channels(connection: sa.Connection, alert_id: int) -> list[str]:
    """Return the channels that have been told of an alert, or are to be: its end is told to the same."""
    table = alert_deliveries.c
    wanted = table.status.in_([_PENDING, _DELIVERED])
    query = sa.select(table.channel).distinct().where(table.alert_id == alert_id, wanted).order_by(table.channel)
    return list(connection.scalars(query))


def has_due(connection: sa.Connection, now: dt.datetime) -> bool:
    """Tell whether something is to be sent now."""
    table = alert_deliveries.c
    query = sa.select(sa.exists().where(table.status == _PENDING, table.next_attempt_at <= now))
    return bool(connection.scalar(query))


def claim(connection: sa.Connection, now: dt.datetime, without: Collection[str] = ()) -> Delivery | None:
    """Return the oldest message that is due, locked until the transaction ends, but none to the channels `without`."""
    table = alert_deliveries.c
    query = (
        sa.select(table.id, table.channel, table.kind, table.severity, table.title, table.body, table.attempts, table.created_at)
        .where(table.status == _PENDING, table.next_attempt_at <= now, table.channel.not_in(list(without)))
        .order_by(table.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    message = Message(row.title, row.body)
    return Delivery(
        id=row.id,
        channel=row.channel,
        severity=Severity(row.severity),
        message=message,
        attempts=row.attempts,
        created_at=row.created_at,
        is_good_news=row.kind == Change.RESOLVED.value,
    )


def note_delivered(connection: sa.Connection, delivery: Delivery, now: dt.datetime) -> None:
    """Note that a message has arrived."""
    values = {"status": _DELIVERED, "delivered_at": now, "attempts": delivery.attempts + 1, "error": None}
    connection.execute(sa.update(alert_deliveries).where(alert_deliveries.c.id == delivery.id).values(**values))


def note_failed(connection: sa.Connection, delivery: Delivery, error: str, now: dt.datetime) -> dt.datetime | None:
    """Note that an attempt failed; return when the next one is, None when nobody will try any more.

    Waits double from half a minute to an hour, for three days. Whatever else is due to the channel waits as long.
    """
    table = alert_deliveries.c
    attempts = delivery.attempts + 1
    if now - delivery.created_at >= GIVEN_UP_AFTER:
        values = {"status": _GIVEN_UP, "attempts": attempts, "error": error}
        connection.execute(sa.update(alert_deliveries).where(table.id == delivery.id).values(**values))
        return None
    wait = min(_FIRST_WAIT_S * 2 ** min(delivery.attempts, 12), _LONGEST_WAIT_S)
    again = now + dt.timedelta(seconds=wait)
    mine = sa.update(alert_deliveries).where(table.id == delivery.id)
    connection.execute(mine.values(attempts=attempts, error=error, next_attempt_at=again))
    others = (table.channel == delivery.channel, table.status == _PENDING, table.next_attempt_at <= now)
    connection.execute(sa.update(alert_deliveries).where(*others).values(next_attempt_at=again))
    return again


def note_at_once(
    connection: sa.Connection, channel: str, message: Message, error: str | None, now: dt.datetime, *, kind: str = TRIAL
) -> None:
    """Note a message that belongs to no alert and was sent at once: a trial, or the daily report."""
    connection.execute(
        sa.insert(alert_deliveries).values(
            channel=channel,
            kind=kind,
            severity=Severity.INFO.value,
            title=message.title,
            body=message.body,
            status=_GIVEN_UP if error else _DELIVERED,
            attempts=1,
            error=error,
            created_at=now,
            next_attempt_at=now,
            delivered_at=None if error else now,
        )
    )


def note_told(connection: sa.Connection, alert_id: int, told: Mapping[str, dt.datetime]) -> None:
    """Note that channels have been told of an alert already, at these times: nothing of it is sent to them again."""
    table = alert_deliveries.c
    for channel, at in told.items():
        mine = (table.alert_id == alert_id, table.channel == channel, table.status == _PENDING)
        values = {"status": _DELIVERED, "delivered_at": at, "attempts": 1}
        connection.execute(sa.update(alert_deliveries).where(*mine).values(**values))
