"""An interruption at the worst place: while SQLAlchemy looks whether a pooled connection lives, before it hands it out."""

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast
from unittest.mock import patch

import psycopg

T = TypeVar("T")


class Interrupted(BaseException):
    """As Dagster's own, of which psycopg knows nothing."""


@contextmanager
def next_ping_interrupted(when: threading.Event) -> Iterator[None]:
    """Interrupt the main thread's first look at a connection after `when`, once its question is sent."""
    is_done = threading.Event()
    wait = psycopg.Connection.wait

    def cut(connection: "psycopg.Connection[Any]", work: "Generator[Any, Any, T]", interval: float = 0.1) -> T:
        is_ping = connection.autocommit and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        is_next = when.is_set() and not is_done.is_set() and threading.current_thread() is threading.main_thread()
        if not is_ping or not is_next:
            return wait(connection, work, interval)
        try:
            next(work)
        except StopIteration as end:  # it was not for the server to answer
            return cast("T", end.value)
        is_done.set()
        raise Interrupted

    with patch.object(psycopg.Connection, "wait", cut):
        yield
