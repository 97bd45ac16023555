"""The writer's connection: kept open and committing by itself, so that a group of new events is one round trip.

What belongs here: one attempt to store a group, a lost connection, and the one event that the database refuses. What does
not: who waits for it (`writer`), the SQL (`storage.inbox`). Used by one thread at a time.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from cmms_pipelines.storage.inbox import Accepted, ReceivedHook, accept

_ATTEMPTS = 3
_PASSING = {"40P01", "40001"}  # another process stored the same keys in another order at the same moment


@dataclass(frozen=True)
class Unstorable:
    """The database refuses this one event; the others of its group are stored."""

    error: str


class InboxStore:
    """Stores groups of events durably."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    def store(self, hooks: Sequence[ReceivedHook]) -> list[Accepted | Unstorable]:
        """Store a group; where the database refuses the data, each event on its own.

        A connection that turns out to be lost is replaced once: what the lost attempt may have committed is then found again
        as a duplicate, which its sender may hear as well.

        Raises:
            SQLAlchemyError: the database cannot be reached or cannot take anything; nothing of the group is confirmed.
        """
        try:
            return list(self._accept(hooks))
        except (sa.exc.DataError, sa.exc.IntegrityError):
            results: list[Accepted | Unstorable] = []
            for hook in hooks:
                try:
                    results.extend(self._accept([hook]))
                except (sa.exc.DataError, sa.exc.IntegrityError) as error:
                    results.append(Unstorable(sqlstate(error) or type(error).__name__))
            return results

    def close(self) -> None:
        """Give the connection back; the next group gets a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                connection.close()

    def _accept(self, hooks: Sequence[ReceivedHook]) -> list[Accepted]:
        for attempt in range(_ATTEMPTS):
            is_kept = self._connection is not None
            try:
                return accept(self._connected(), hooks)
            except sa.exc.DBAPIError as error:
                self._clean_up(error)
                may_pass = sqlstate(error) in _PASSING or (is_kept and error.connection_invalidated)
                if not may_pass or attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        return self._connection

    def _clean_up(self, error: sa.exc.DBAPIError) -> None:
        if error.connection_invalidated or self._connection is None:
            self.close()
        else:
            self._connection.rollback()


def sqlstate(error: BaseException) -> str | None:
    """Return the SQLSTATE, which is safe to log; the message may quote the data."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    return state if isinstance(state, str) else None
