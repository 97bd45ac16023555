"""Look at the inbox without touching it: is there work, and is anybody at it?

What belongs here: what the sensor and the checks ask, on plain psycopg, so that a process that only watches stays small.
What does not: claiming (`storage.inbox_claims`).
"""

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass

import psycopg

from cmms_pipelines.storage.drain_turns import CHANNEL as DRAIN_CHANNEL
from cmms_pipelines.storage.drain_turns import DrainState, drain_state

INBOX_CHANNEL = "cmms_inbox"
STOP_CHANNEL = "cmms_stop"
_CONNECT_TIMEOUT_S = 5

_PEEK = """
    SELECT EXISTS (
               SELECT FROM cmms.maintenance_event_hooks AS due
               WHERE processing_status = 'pending' AND next_attempt_at <= clock_timestamp()
                 AND NOT EXISTS (
                     SELECT FROM cmms.maintenance_event_hooks AS earlier
                     WHERE earlier.cmms_system_id = due.cmms_system_id AND earlier.entity_key = due.entity_key
                       AND earlier.sequence < due.sequence AND earlier.processing_status = 'pending'
                       AND earlier.next_attempt_at > clock_timestamp()
                 )
           ) OR EXISTS (
               SELECT FROM cmms.maintenance_event_hooks AS held
               JOIN cmms.equipment AS found ON found.equipment_number = held.outcome ->> 'waits_for_equipment'
               WHERE held.processing_status = 'held'
           ),
           (SELECT max(sequence) FROM cmms.maintenance_event_hooks)
"""
_COUNT_DEAD = """
    SELECT count(*), min(created_at)::text, (array_agg(DISTINCT left(error_message, 200)))[1:5]
    FROM cmms.maintenance_event_hooks WHERE processing_status = 'dead_letter'
"""


@dataclass(frozen=True)
class InboxState:
    """What the inbox looks like: whether anything is due, the newest event's sequence, and what the drains are doing."""

    has_due: bool
    newest_sequence: int
    drain: DrainState


@dataclass(frozen=True)
class DeadLetters:
    """Events that nobody could apply: how many, since when, and some of the causes."""

    count: int
    oldest_at: str | None
    causes: tuple[str, ...]


class InboxWatch:
    """A listening connection that outlives the tick of a sensor; it is opened again when it is lost."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: psycopg.Connection | None = None

    def look(self) -> InboxState:
        """Return the state of the inbox now.

        Raises:
            psycopg.OperationalError: the database cannot be reached.
        """
        try:
            return self._look()
        except psycopg.OperationalError:
            self.close()
            return self._look()

    def wait(self, seconds: float, channels: Collection[str] = (INBOX_CHANNEL, DRAIN_CHANNEL)) -> bool:
        """Wait until one of `channels` is told something, at most `seconds`; return whether watchers have to stop."""
        for notification in self._connected().notifies(timeout=seconds):
            if notification.channel == STOP_CHANNEL:
                return True
            if notification.channel in channels:
                return False
        return False

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _look(self) -> InboxState:
        connection = self._connected()
        row = connection.execute(_PEEK).fetchone()
        has_due, newest = row if row is not None else (False, None)
        return InboxState(bool(has_due), int(newest or 0), drain_state(connection))

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._address, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, application_name="cmms-inbox-watch"
            )
            self._connection.execute(f"LISTEN {INBOX_CHANNEL}")
            self._connection.execute(f"LISTEN {DRAIN_CHANNEL}")
            self._connection.execute(f"LISTEN {STOP_CHANNEL}")
        return self._connection


_watches: dict[str, InboxWatch] = {}
_watches_lock = threading.Lock()


def shared_watch(address: str) -> InboxWatch:
    """Return this process's watch on `address`; one thread uses it at a time."""
    with _watches_lock:
        return _watches.setdefault(address, InboxWatch(address))


def tell_watchers_to_stop(address: str) -> None:
    """End the waits of all watches on the inbox: what waits in them is about to be stopped. Nothing if there is no database."""
    with (
        suppress(psycopg.OperationalError),
        psycopg.connect(address, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S) as connection,
    ):
        connection.execute(f"NOTIFY {STOP_CHANNEL}")


def dead_letters(address: str) -> DeadLetters:
    """Return what lies in the dead-letter box."""
    with psycopg.connect(address, connect_timeout=_CONNECT_TIMEOUT_S) as connection:
        row = connection.execute(_COUNT_DEAD).fetchone()
    count, oldest_at, causes = row if row is not None else (0, None, None)
    return DeadLetters(int(count), oldest_at, tuple(causes or ()))
