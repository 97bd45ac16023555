"""Whose turn it is to drain the inbox: one drain at a time, and two only while one hands over to the next.

What belongs here: the session-level locks by which drains and the sensor see each other; they vanish with the process that
holds them, however it ends. What does not: claiming events, which is safe beside any number of others.

A drain *works* under one lock. At the end of its life it takes a second one, *leaving*, and goes on working. The next drain,
which finds that lock taken, *announces* itself under a third and works along. The old one sees that and goes; the new one
takes its place.
"""

from enum import IntEnum, StrEnum

import psycopg

CHANNEL = "cmms_drain"
"""Told when a drain starts to leave and when it has ended."""

_CLASS = 0x636D6D73


class _Lock(IntEnum):
    WORKING = 1
    LEAVING = 2
    ANNOUNCED = 3


class DrainState(StrEnum):
    """What the locks say: nobody drains; one does; one is leaving; one is leaving and the next is there."""

    ABSENT = "absent"
    WORKING = "working"
    LEAVING = "leaving"
    HANDING_OVER = "handing_over"


def drain_state(connection: psycopg.Connection) -> DrainState:
    """Return what the drains of this database are doing now."""
    held = _held(connection)
    if _Lock.ANNOUNCED in held:
        return DrainState.HANDING_OVER
    if _Lock.LEAVING in held:
        return DrainState.LEAVING
    return DrainState.WORKING if _Lock.WORKING in held else DrainState.ABSENT


class Turn:
    """One drain's place, on a connection in autocommit mode that lives as long as the drain."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._has_announced = False

    def take(self) -> bool:
        """Take the place of the drain that works, or announce oneself to one that is leaving; False when neither is to be had."""
        if self._try(_Lock.WORKING):
            return True
        self._has_announced = drain_state(self._connection) is DrainState.LEAVING and self._try(_Lock.ANNOUNCED)
        return self._has_announced

    def move_up(self) -> None:
        """Take the place of the drain that has gone, if it has."""
        if self._has_announced and self._try(_Lock.WORKING):
            self._release(_Lock.ANNOUNCED)
            self._has_announced = False

    def start_to_leave(self) -> None:
        """Tell the sensor that the next drain may start."""
        if self._try(_Lock.LEAVING):
            self._connection.execute(f"NOTIFY {CHANNEL}, 'leaving'")

    def is_followed(self) -> bool:
        """Return whether the next drain is there and works."""
        return drain_state(self._connection) is DrainState.HANDING_OVER

    def give_up(self) -> None:
        """Leave the place free; whatever is accepted from now on is for the next drain."""
        self._connection.execute("SELECT pg_advisory_unlock_all()")
        self._connection.execute(f"NOTIFY {CHANNEL}, 'ended'")

    def _try(self, lock: _Lock) -> bool:
        row = self._connection.execute("SELECT pg_try_advisory_lock(%s, %s)", (_CLASS, lock.value)).fetchone()
        return bool(row and row[0])

    def _release(self, lock: _Lock) -> None:
        self._connection.execute("SELECT pg_advisory_unlock(%s, %s)", (_CLASS, lock.value))


def _held(connection: psycopg.Connection) -> set[_Lock]:
    rows = connection.execute(
        "SELECT objid::int FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = %s"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (_CLASS,),
    )
    return {_Lock(row[0]) for row in rows if row[0] in set(_Lock)}
