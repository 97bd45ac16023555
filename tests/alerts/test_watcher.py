"""The watcher tells of a database that is away, stores it afterwards, and works alone."""

import logging
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy as sa

from cmms_pipelines.notify.watch import Watcher
from cmms_pipelines.storage import alerts
from cmms_pipelines.storage.engine import make_engine
from tests.alerts.conftest import SECRET, UI, World
from tests.storage.inbox_world import query


class Door:
    """Shuts a test's database to everybody, and opens it again."""

    def __init__(self, server_url: str, url: str) -> None:
        self._server_url, self._name = server_url, urlsplit(url).path.removeprefix("/")

    def shut(self) -> None:
        self._say(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS false')
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            ending = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(ending, (self._name,))

    def open(self) -> None:
        self._say(f'ALTER DATABASE "{self._name}" ALLOW_CONNECTIONS true')

    def _say(self, statement: str) -> None:
        with psycopg.connect(self._server_url, autocommit=True) as connection:
            connection.execute(statement.encode())


@pytest.fixture
def door(world: World, server_url: str) -> Iterator[Door]:
    found = Door(server_url, world.database.url)
    yield found
    found.open()


def watcher_of(world: World) -> Watcher:
    engine = make_engine(world.database.url, pool_size=2, max_overflow=1)
    return Watcher(engine, world.box, world.environment, clock=lambda: world.now, dagster_url=UI)


def test_a_database_that_is_away_is_told_at_once_stored_later_and_its_end_is_told(
    world: World, door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    world.configure(clear_after_s=0)
    watcher = watcher_of(world)
    assert watcher.look_once() is not None
    world.mail.refusal = "451 later"
    with caplog.at_level(logging.DEBUG):
        door.shut()
        for _ in range(4):  # at 0, 20, 40 and 60 s: told from 30 s on
            assert watcher.look_once() is None
            world.now += timedelta(seconds=20)
        assert [body["title"][:22] for body in world.chat.bodies] == ["[critical] The databas"]
        assert world.mail.mails == []
        door.open()
        world.mail.refusal = None
        made = watcher.look_once()
    assert made is not None
    rows = query(world.database.url, "SELECT channel, kind, status FROM cmms.alert_deliveries ORDER BY id")
    told = [tuple(row) for row in rows]
    assert ("chat", "opened", "delivered") in told  # sent while it was away, and logged since
    assert [body["type"] for body in world.chat.bodies] == ["failure", "success"]
    assert query(world.database.url, "SELECT fingerprint, severity, status FROM cmms.alerts") == [
        ("database", "critical", "resolved")
    ]
    assert len(world.mail.mails) == 1
    assert SECRET not in caplog.text
    watcher.close()


def test_a_short_break_of_the_database_is_nobodys_alert(world: World, door: Door) -> None:
    world.configure()
    watcher = watcher_of(world)
    watcher.look_once()
    door.shut()
    assert watcher.look_once() is None
    door.open()
    assert watcher.look_once() is not None
    assert (world.standing(), world.mail.mails, world.chat.requests) == ({}, [], 0)
    watcher.close()


def test_a_look_at_a_quiet_system_asks_few_questions(world: World) -> None:
    world.configure()
    watcher = watcher_of(world)
    watcher.look_once()  # the first one of five minutes looks at days too
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        world.now += timedelta(seconds=30)
        assert watcher.look_once() is not None
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    watcher.close()
    assert 5 <= len(asked) <= 10


def test_one_watcher_works_and_the_next_takes_over(world: World) -> None:
    first, second = watcher_of(world), watcher_of(world)
    assert first.look_once() is not None
    assert second.look_once() is None
    with world.database.engine.connect() as connection:
        assert alerts.is_watched(connection)
    first.close()
    assert second.look_once() is not None
    second.close()
    with world.database.engine.connect() as connection:
        assert not alerts.is_watched(connection)
