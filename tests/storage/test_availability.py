"""A server that is away is waited for within a bound; one that is there and says no is not."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.engine import make_engine
from tests.conftest import Database


class Door:
    """A port in front of the real server, closed until it is opened."""

    def __init__(self, url: str) -> None:
        there = make_url(url)
        self._target = (there.host, there.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._listener.close()
        self._sockets: list[socket.socket] = []
        self.engine = make_engine(there.set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False))

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._let_in, daemon=True).start()

    def close(self) -> None:
        self.engine.dispose()
        self._listener.close()
        for one in self._sockets:
            one.close()

    def _let_in(self) -> None:
        while True:
            try:
                one, _ = self._listener.accept()
            except OSError:
                return
            other = socket.create_connection(self._target)
            self._sockets += [one, other]
            for source, sink in ((one, other), (other, one)):
                threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def door(server_url: str) -> Iterator[Door]:
    found = Door(server_url)
    yield found
    found.close()


def one(engine: sa.Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SELECT 1")) or 0


def test_a_server_that_comes_back_in_time_is_waited_for(door: Door) -> None:
    opening = threading.Timer(0.4, door.open)
    opening.start()
    assert when_available(door.engine, lambda: one(door.engine), wait_s=20) == 1
    opening.join()


def test_a_server_that_stays_away_is_given_up_with_a_sentence_that_says_where_it_was_looked_for(door: Door) -> None:
    with pytest.raises(TransientError, match=rf"The database on 127.0.0.1:{door.port} was away for longer than 0 s: .*refused"):
        when_available(door.engine, lambda: one(door.engine), wait_s=0.3)


def test_nobody_waits_for_what_is_not_wanted_any_more(door: Door) -> None:
    started = time.monotonic()
    with pytest.raises(TransientError):
        when_available(door.engine, lambda: one(door.engine), wait_s=30, is_wanted=lambda: False)
    assert time.monotonic() - started < 5


def test_a_database_that_does_not_exist_is_no_reason_to_wait(server_url: str) -> None:
    engine = make_engine(make_url(server_url).set(database="no_such_database").render_as_string(hide_password=False))
    with pytest.raises(PermanentError, match=r'does not let us in: .*"no_such_database" does not exist'):
        when_available(engine, lambda: one(engine), wait_s=30)


def test_work_whose_connection_is_lost_is_begun_again(database: Database) -> None:
    begun: list[int] = []

    def work() -> int:
        begun.append(len(begun))
        with database.engine.connect() as connection:
            if len(begun) < 3:
                connection.execute(sa.text("SELECT pg_terminate_backend(pg_backend_pid())"))
            return connection.scalar(sa.text("SELECT 1")) or 0

    assert when_available(database.engine, work) == 1
    assert begun == [0, 1, 2]


def test_what_the_server_refuses_is_not_tried_again(database: Database) -> None:
    begun: list[int] = []

    def work() -> None:
        begun.append(len(begun))
        with database.engine.begin() as connection:
            connection.execute(sa.text("SELECT 1 / 0"))

    with pytest.raises(sa.exc.DataError):
        when_available(database.engine, work)
    assert begun == [0]
