"""The watcher: a process that looks at the system for as long as it lives, and tells people when the database itself is away.

What belongs here: the pace, one watcher at a time, and an outage of the database, during which nothing can be stored.
What does not: what is looked for (`notify.rounds`; Dagster's signs are handed in), and starting the process (`commands.alerts`).
It stands outside Dagster and outside the receiver on purpose: it must not depend on what it watches.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import sqlalchemy as sa
import structlog
from cryptography.fernet import MultiFernet

from cmms_pipelines.domain.alert_configuration import AlertConfiguration
from cmms_pipelines.domain.alert_findings import database_finding
from cmms_pipelines.domain.alert_messages import Message, Subject, message
from cmms_pipelines.domain.alerts import Change, Finding
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.notify.channels import send
from cmms_pipelines.notify.rounds import Look, MoreSigns, Round, deliver, look, nothing_more, settle
from cmms_pipelines.storage import alert_deliveries, alerts
from cmms_pipelines.storage.alert_configuration import open_address, read_alert_configuration

DAYS_EVERY = dt.timedelta(minutes=5)
MORE_EVERY = dt.timedelta(minutes=1)
_FIRST_WAIT = dt.timedelta(seconds=30)
_LONGEST_WAIT = dt.timedelta(hours=1)

_log = structlog.get_logger(__name__)


@dataclass
class _Outage:
    """An outage of the database: since when, why, and which channels have been told, with the attempts at the others."""

    since: dt.datetime
    reason: str
    told: dict[str, dt.datetime] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    next_attempt_at: dict[str, dt.datetime] = field(default_factory=dict)


class Watcher:
    """Looks once whenever `look_once` is called; whoever owns the process calls it twice a minute."""

    def __init__(
        self,
        engine: sa.Engine,
        box: MultiFernet,
        environment: Mapping[str, str],
        *,
        clock: Callable[[], dt.datetime],
        dagster_url: str,
        more_signs: MoreSigns = nothing_more,
    ) -> None:
        self._engine, self._box, self._environment = engine, box, environment
        self._clock, self._dagster_url, self._more_signs = clock, dagster_url, more_signs
        self._configuration = AlertConfiguration()
        self._outage: _Outage | None = None
        self._holder: sa.Connection | None = None
        self._days_at = self._more_at = dt.datetime.min.replace(tzinfo=dt.UTC)

    def look_once(self) -> Round | None:
        """Make one round; None while another watcher works, or the database is away."""
        now = self._clock()
        try:
            return self._round(now) if self._is_ours() else None
        except (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError) as error:
            self._lose_lock()
            self._note_outage(now, _reason(error))
            return None
        except Exception:  # noqa: BLE001 - a defect in one look must not end the one who tells of troubles
            self._lose_lock()  # nobody watches, says the check `alerts_are_watched`
            _log.exception("look_failed")
            return None

    def close(self) -> None:
        """Let another watcher work."""
        self._lose_lock()

    def _round(self, now: dt.datetime) -> Round:
        with self._engine.connect() as connection:
            self._configuration = self._read_configuration(connection)
        self._end_outage(now)
        thresholds = self._configuration.thresholds
        has_days = now - self._days_at >= DAYS_EVERY
        seen = look(self._engine, now, thresholds, with_days=has_days)
        if has_days:
            self._days_at = now
        if now - self._more_at >= MORE_EVERY:
            seen, self._more_at = seen + self._more_signs(now, thresholds), now
        made = Round(settle(self._engine, seen, self._configuration, now, self._dagster_url))
        with self._engine.connect() as connection:
            is_due = alert_deliveries.has_due(connection, now)
        if is_due:
            made.delivered, made.failed = deliver(self._engine, self._configuration, self._box, self._environment, self._clock)
        return made

    def _read_configuration(self, connection: sa.Connection) -> AlertConfiguration:
        """Return the configuration in force; one that was broken by hand is told once, and the last good one stays."""
        try:
            return read_alert_configuration(connection)
        except PermanentError as error:
            _log.error("alert_configuration_not_usable", reason=str(error))
            return self._configuration

    def _note_outage(self, now: dt.datetime, reason: str) -> None:
        if self._outage is None:
            self._outage = _Outage(now, reason)
            _log.error("database_not_reached", reason=reason)
        outage = self._outage
        if (now - outage.since).total_seconds() < self._configuration.thresholds.database_unreachable_s:
            return
        found = _finding(outage, now, self._engine)
        text = message(Change.OPENED, _subject(found, now), now, self._dagster_url)
        for channel in self._configuration.routes.of(found.severity):
            if channel not in outage.told and outage.next_attempt_at.get(channel, now) <= now:
                self._tell_at_once(outage, channel, text, found, now)

    def _tell_at_once(self, outage: _Outage, channel: str, text: Message, found: Finding, now: dt.datetime) -> None:
        try:
            address = open_address(self._configuration.channels[channel], self._box, self._environment)
            send(address, text, found.severity)
        except (TransientError, PermanentError) as error:
            attempts = outage.attempts[channel] = outage.attempts.get(channel, 0) + 1
            outage.next_attempt_at[channel] = now + min(_FIRST_WAIT * 2 ** min(attempts - 1, 12), _LONGEST_WAIT)
            if attempts == 1:
                _log.warning("alert_not_delivered", channel=channel, reason=str(error), gives_up=False)
        else:
            outage.told[channel] = now

    def _end_outage(self, now: dt.datetime) -> None:
        """Store what could not be stored: the alert with the messages that were sent; its end is told like any other."""
        if self._outage is None:
            return
        outage = self._outage
        _log.info("database_reached_again", since=outage.since.isoformat())
        if (now - outage.since).total_seconds() >= self._configuration.thresholds.database_unreachable_s:
            found = _finding(outage, now, self._engine)
            told = settle(self._engine, Look([found]), self._configuration, now, self._dagster_url)
            with self._engine.begin() as connection:
                for one in told:
                    alert_deliveries.note_told(connection, one.subject.id, outage.told)
        self._outage = None

    def _is_ours(self) -> bool:
        """Tell whether this is the one watcher of the database; its lock vanishes with its connection, however that ends."""
        if self._holder is None:
            holder = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            is_mine: bool = holder.execute(sa.text("SELECT pg_try_advisory_lock(:key)"), {"key": alerts.WATCH_LOCK}).scalar_one()
            if not is_mine:
                holder.close()
                return False
            self._holder = holder
        self._holder.execute(sa.text("SELECT 1"))
        return True

    def _lose_lock(self) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            with suppress(sa.exc.SQLAlchemyError):  # a closed connection lets go of its lock only when the server has noticed
                holder.execute(sa.text("SELECT pg_advisory_unlock(:key)"), {"key": alerts.WATCH_LOCK})
            with suppress(sa.exc.SQLAlchemyError):
                holder.invalidate()
                holder.close()


def _finding(outage: _Outage, now: dt.datetime, engine: sa.Engine) -> Finding:
    where = f"{engine.url.database} on {engine.url.host or 'the local socket'}:{engine.url.port or 5432}"
    return database_finding(outage.since, now, where, outage.reason)


def _subject(found: Finding, now: dt.datetime) -> Subject:
    return Subject(
        id=0,
        fingerprint=found.fingerprint,
        severity=found.severity,
        title=found.title,
        detail=found.detail,
        cause=found.cause,
        first_seen_at=found.since or now,
        occurrences=1,
        figures=found.figures,
        run_id=None,
    )


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    """Return what the driver said, in one line and without the statement."""
    said = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()
    return said[-1][:200] if said else type(error).__name__
