"""When a sync may begin and when it may go on: its scope is free, nobody has paused all syncs, nobody has stopped it.

What belongs here: waiting, what is told while waiting, and the end of all writes. What does not: the flags and claims
(`storage.sync_controls`, `storage.sync_claims`) and the slices (`sync.session`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import sync_log
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.sync_claims import SyncClaim
from cmms_pipelines.storage.sync_controls import Controls, read_controls

GRACE_S = 3.0  # for writes in progress when a sync is cancelled


class SyncStoppedError(PermanentError):
    """An operator stopped this sync: it ends as cancelled, with its finished slices."""


@dataclass(frozen=True)
class Patience:
    """How long a sync waits for another of overlapping scope before it gives up, and how often it looks."""

    wait_s: float = 600.0
    poll_s: float = 1.0
    tell_every_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> "Patience":
        """Return the patience that the settings allow (CMMS_SYNC_WAIT_S)."""
        return cls(wait_s=settings.sync_wait_s)


def look_for_stop(engine: sa.Engine, began_at: datetime) -> str | None:
    """Return who has paused all syncs, if anybody has.

    Raises:
        SyncStoppedError: an operator has stopped what had begun at `began_at`, by the database's clock.
    """

    def ask() -> Controls:
        with engine.connect() as connection:
            return read_controls(connection)

    controls = when_available(engine, ask)
    if controls.stop is not None and controls.stop.changed_at >= began_at:
        raise SyncStoppedError(f"Stopped {controls.stop}. What is finished is kept, a new run does the rest.")
    return None if controls.pause is None else str(controls.pause)


def wait_while_paused(
    engine: sa.Engine,
    began_at: datetime,
    progress: Callable[[str], None],
    patience: Patience = Patience(),
) -> None:
    """Wait until nobody holds all syncs: between two parts of work that has no slices.

    Raises:
        SyncStoppedError: an operator has stopped what had begun at `began_at`.
    """
    told_at = None
    while pause := look_for_stop(engine, began_at):
        now = time.monotonic()
        if told_at is None or now - told_at >= patience.tell_every_s:
            progress(f"paused {pause}")
            told_at = now
        time.sleep(patience.poll_s)
    if told_at is not None:
        progress("goes on")


class Turn:
    """A sync's turn: to begin once its scope is free, and to go on between two slices."""

    def __init__(self, engine: sa.Engine, claim: SyncClaim, progress: Callable[[str], None], patience: Patience) -> None:
        self.seconds_held = 0.0
        self._engine = engine
        self._claim = claim
        self._progress = progress
        self._patience = patience
        self._began_at = self._read_beginning()
        self._held_since: float | None = None
        self._told_at = 0.0

    def wait_for_scope(self) -> None:
        """Wait until no sync that came before works on the same part.

        Raises:
            TransientError: one still does after all the patience.
            SyncStoppedError: an operator stopped this one while it waited.
        """
        started = time.monotonic()
        while others := self._claim.in_the_way():
            waiting = f"waits for {others[0]}, which works on the same part"
            if time.monotonic() - started > self._patience.wait_s:
                raise TransientError(
                    f"Nothing was done: {others[0]} has worked on the same part for longer than {self._patience.wait_s:.0f} s "
                    "(CMMS_SYNC_WAIT_S)."
                )
            self._hold(waiting)
            self.look_for_stop()
            time.sleep(self._patience.poll_s)
        self._go_on()

    def may_go_on(self) -> bool:
        """Tell whether the next slice may begin; while syncs are paused it may not.

        Raises:
            SyncStoppedError: an operator stopped this sync.
            TransientError: the database was away, and another sync has taken the place.
        """
        when_available(self._engine, self.renew)
        pause = self.look_for_stop()
        if pause is None:
            self._go_on()
            return True
        self._hold(f"paused {pause}")
        return False

    def renew(self) -> None:
        """Make sure that the place is still this sync's, also after the database was away.

        Raises:
            TransientError: another sync has taken it.
            DBAPIError: the database cannot be asked.
        """
        self._claim.renew()

    def rest(self) -> None:
        """Wait a moment before looking again."""
        time.sleep(self._patience.poll_s)

    @property
    def poll_s(self) -> float:
        """Seconds between two looks."""
        return self._patience.poll_s

    def look_for_stop(self) -> str | None:
        """Return who has paused all syncs, if anybody has.

        Raises:
            SyncStoppedError: an operator stopped this sync.
        """
        return look_for_stop(self._engine, self._began_at)

    def _hold(self, activity: str) -> None:
        now = time.monotonic()
        if self._held_since is None:
            self._held_since = now
            sync_log.note_activity(self._engine, self._claim.log, activity)
            self._told_at = 0.0
        if now - self._told_at >= self._patience.tell_every_s or not self._told_at:
            self._progress(activity)
            self._told_at = now

    def _go_on(self) -> None:
        if self._held_since is None:
            return
        seconds = time.monotonic() - self._held_since
        self._held_since = None
        self.seconds_held += seconds
        sync_log.note_activity(self._engine, self._claim.log, None)
        self._progress(f"goes on after {seconds:.0f} s")

    def _read_beginning(self) -> datetime:
        began_at: datetime = sync_log.read(self._engine, self._claim.log.id)["sync_started_at"]
        return began_at


class Writes:
    """The writes in progress of a session, and the end of all of them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open: set[object] = set()
        self._connections: dict[object, psycopg.Connection[Any]] = {}
        self._alone = 0  # writes that are, or wait to be
        self._is_closed = False

    @contextmanager
    def one(self, engine: sa.Engine, *, is_alone: bool = False) -> Iterator[sa.Connection]:
        """Write in one transaction; with `is_alone` no other one of this session is under way meanwhile.

        Raises:
            SyncStoppedError: the session has ended.
        """
        write = object()
        with self._changed:
            self._alone += is_alone
            try:
                self._changed.wait_for(lambda: self._is_closed or not (self._open if is_alone else self._alone))
                self.look_for_end()
                self._open.add(write)
            except BaseException:
                self._alone -= is_alone
                raise
        try:
            with engine.begin() as connection:
                raw = connection.connection.driver_connection
                if isinstance(raw, psycopg.Connection):
                    self._connections[write] = raw
                yield connection
        finally:
            with self._changed:
                self._connections.pop(write, None)
                self._open.discard(write)
                self._alone -= is_alone
                self._changed.notify_all()

    def are_open(self) -> bool:
        """Tell whether the session goes on."""
        return not self._is_closed

    def look_for_end(self) -> None:
        """Refuse to go on once the session has ended.

        Raises:
            SyncStoppedError: it has.
        """
        if self._is_closed:
            raise SyncStoppedError("The sync has ended; this slice is left to the next run.")

    def close(self, grace_s: float = GRACE_S) -> None:
        """Let no further write begin; those in progress may end within the grace, then they are taken back."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            is_over = self._changed.wait_for(lambda: not self._open, grace_s)
            while not is_over:
                for connection in list(self._connections.values()):
                    connection.cancel_safe(timeout=1.0)
                is_over = self._changed.wait_for(lambda: not self._open, 0.2)
