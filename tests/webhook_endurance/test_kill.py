"""kill -9 of receiver, drain and database under load: what was answered 202 takes effect, once, and soon there is a 202 again."""

import contextlib
import random
import shutil
import socket
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import ensure_database, make_engine
from tests.endurance.test_database_restart import OwnServer
from tests.webhook.conftest import SECRET
from tests.webhook_endurance.world import Interruptions, World, add_books, running

KINDS = ("receiver", "drain", "database")


@pytest.fixture(scope="module")
def server() -> Iterator[OwnServer]:
    home = Path(tempfile.mkdtemp(prefix="cmms-kill-"))
    home.chmod(0o755)  # as root the server runs as another user, who must get in
    try:
        url = embedded.ensure_running(home).url("cmms")
        ensure_database(url)
        with psycopg.connect(url) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            assert row is not None
        data = Path(row[0])
        postmaster = psutil.Process(int((data / "postmaster.pid").read_text().split()[0]))
        yield OwnServer(home, url, data, Path(postmaster.exe()))
    finally:
        embedded.stop(home)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def world(server: OwnServer, tmp_path: Path) -> Iterator[World]:
    url = make_url(server.url).set(database=f"t_{uuid.uuid4().hex[:12]}").render_as_string(hide_password=False)
    ensure_database(url)
    settings = Settings(home=tmp_path, database_url=SecretStr(url))
    engine = make_engine(url)
    migrate.upgrade(engine)
    register_source(engine, settings, "plant-cmms", WebhookSource(), secret=SecretStr(SECRET), actor="tests")
    engine.dispose()
    add_books(url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with running(url, port, tmp_path) as result:
        yield result


def kill_whole(server: OwnServer) -> None:
    """kill -9 of the postmaster and of all its processes, so that none of them writes a last word; then start again."""
    postmaster = server.postmaster()
    members = [*postmaster.children(recursive=True), postmaster]
    for process in reversed(members):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(members, timeout=30)
    server.start()


def kill_again_and_again(world: World, server: OwnServer, kinds: list[str], seed: int) -> Interruptions:
    """Kill at moments that are drawn, each time after all was at work again."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    kills = {"receiver": world.receiver.kill, "drain": world.drain.kill, "database": lambda: kill_whole(server)}
    found = Interruptions()
    for kind in kinds:
        time.sleep(chance.uniform(0, 0.7))
        found.measure(world, kind, kills[kind])
    world.is_over.set()
    assert len(world.answers) > 10 * len(kinds)
    world.assert_nothing_lost_and_nothing_twice()
    return found


def test_whatever_is_killed_once_nothing_that_was_accepted_is_lost_and_nothing_takes_effect_twice(
    world: World, server: OwnServer
) -> None:
    found = kill_again_and_again(world, server, list(KINDS), seed=1)
    assert found.of_202.keys() == found.of_applied.keys() == set(KINDS)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [2, 3])
def test_sixty_kills_of_receiver_drain_and_database_lose_nothing_and_double_nothing(
    world: World, server: OwnServer, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    kinds = list(KINDS) * 20
    random.Random(seed).shuffle(kinds)  # noqa: S311 - an order, not a secret
    found = kill_again_and_again(world, server, kinds, seed)
    with capsys.disabled():
        for line in ["", *found.lines(), f"{len(world.answers)} events, answered otherwise meanwhile: {dict(world.others)}"]:
            print(line)  # noqa: T201 - the figures of docs/performance.md
