"""Waiting for a PostgreSQL that is away: it restarts, fails over, or is not up yet.

What belongs here: telling a server that is away from one that refuses us, and the wait with its bound. What does not: what an
error means that a server gives while it is there (`storage.refusals`).
"""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.storage.refusals import reason_of

WAIT_S = 60.0  # a restart takes seconds, a fail-over less than a minute
_LOOK_EVERY_S = 0.25
_COMES_BACK = ("08", "57P", "53300")  # SQLSTATE: lost connections, shutdown and start-up, no connection left
_SHUT_OUT = ("authentication failed", "pg_hba.conf", "no password supplied", "does not exist", "not permitted to log in")

T = TypeVar("T")


def when_available(
    engine: sa.Engine, work: Callable[[], T], *, wait_s: float = WAIT_S, is_wanted: Callable[[], bool] = lambda: True
) -> T:
    """Return what `work` returns; where the server goes away meanwhile, wait for it and begin `work` again.

    Args:
        engine: of the server.
        work: what may be done twice, since the loss of a connection does not tell whether a commit came through.
        wait_s: how long the server may be away.
        is_wanted: asked while waiting; once it says no, the wait is given up.

    Raises:
        TransientError: the server was away for longer, or the wait was given up.
        PermanentError: it is there and does not let us in.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return work()
        except DBAPIError as error:
            if not is_away(error):
                raise
            _wait(engine, error, deadline, wait_s, is_wanted)


def is_away(error: DBAPIError) -> bool:
    """Tell whether the server could not be reached or went away; a statement that it refused says that it is there."""
    if not isinstance(error.orig, psycopg.OperationalError):
        return False
    state = error.orig.sqlstate
    return state is None or state.startswith(_COMES_BACK)


def _wait(engine: sa.Engine, lost: DBAPIError, deadline: float, wait_s: float, is_wanted: Callable[[], bool]) -> None:
    """Return once the server answers."""
    where = f"{engine.url.host or 'the local socket'}:{engine.url.port or 5432}"
    while True:
        reason = reason_of(lost)
        if any(words in reason for words in _SHUT_OUT):
            raise PermanentError(f"The database on {where} does not let us in: {reason}") from lost
        if time.monotonic() >= deadline or not is_wanted():
            raise TransientError(f"The database on {where} was away for longer than {wait_s:.0f} s: {reason}") from lost
        time.sleep(min(_LOOK_EVERY_S, max(deadline - time.monotonic(), 0.0)))
        try:
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))
        except DBAPIError as error:
            lost = error
        else:
            return
