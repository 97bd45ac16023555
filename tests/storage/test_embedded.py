"""The embedded server: one for all processes, whatever happens to those who started it."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.storage import embedded

START = """
import json, sys
from pathlib import Path
from cmms_pipelines.storage import embedded
server = embedded.ensure_running(Path(sys.argv[1]))
print(json.dumps([server.port, server.password]), flush=True)
if len(sys.argv) > 2:
    sys.stdin.read()
"""
IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can act as another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may pass through; pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="cmms-embedded-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    yield folder / "home"
    embedded.stop(folder / "home")


def started_elsewhere(home: Path) -> embedded.EmbeddedServer:
    """Start or attach in another process, which ends at once."""
    finished = subprocess.run([sys.executable, "-c", START, str(home)], capture_output=True, text=True, timeout=120, check=True)
    port, password = json.loads(finished.stdout)
    return embedded.EmbeddedServer(port, password)


def postmaster(home: Path, account: embedded.Account | None = None) -> int:
    folder = embedded._state_folder(home, account or embedded.server_account())
    return int((folder / "data" / "postmaster.pid").read_text().splitlines()[0])


def answers(server: embedded.EmbeddedServer) -> bool:
    try:
        with psycopg.connect(server.url("postgres"), connect_timeout=5):
            return True
    except psycopg.OperationalError:
        return False


def interpreter_for(account: embedded.Account) -> str:
    """Return a Python of our version that `account` may run: ours, or the system's where ours lies in a closed folder."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable).resolve(), Path(f"/usr/bin/python{version}"), Path(f"/usr/local/bin/python{version}")):
        if path.exists() and embedded.can_reach(path, account):
            return str(path)
    pytest.skip(f"the user {account.name} can reach no Python {version}")


def test_many_processes_that_attach_at_once_find_one_server(home: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        servers = set(pool.map(lambda _: started_elsewhere(home), range(6)))
    assert len(servers) == 1
    assert embedded.find_running(home) == servers.pop()


def test_the_server_outlives_a_starter_that_was_killed_and_stops_when_told(home: Path) -> None:
    command = [sys.executable, "-c", START, str(home), "stay"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        server = embedded.EmbeddedServer(*json.loads(starter.stdout.readline()))
        starter.send_signal(signal.SIGKILL)
    assert answers(server)
    assert embedded.ensure_running(home) == server
    assert embedded.stop(home)
    assert not answers(server)
    assert embedded.find_running(home) is None
    assert not embedded.stop(home)


def test_data_and_address_are_still_there_after_a_stop_and_a_start(home: Path) -> None:
    before = embedded.ensure_running(home)
    with psycopg.connect(before.url("postgres")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS value")
    embedded.stop(home)
    after = embedded.ensure_running(home)
    assert after == before
    with psycopg.connect(after.url("postgres")) as connection:
        assert connection.execute("SELECT value FROM kept").fetchone() == (1,)


def test_a_port_that_somebody_else_took_meanwhile_is_left_to_him(home: Path) -> None:
    before = embedded.ensure_running(home)
    embedded.stop(home)
    with socket.create_server(("127.0.0.1", before.port)):
        after = embedded.ensure_running(home)
        assert after.port != before.port
        assert answers(after)


def test_a_process_id_left_by_a_server_that_was_killed_is_not_believed(home: Path) -> None:
    server = embedded.ensure_running(home)
    os.kill(postmaster(home), signal.SIGKILL)
    deadline = time.monotonic() + 10
    while answers(server) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert embedded.find_running(home) is None
    assert answers(embedded.ensure_running(home))


def test_a_foreign_server_on_the_port_of_ours_is_not_taken_for_ours(home: Path, folder: Path) -> None:
    ours, foreign = embedded.ensure_running(home), embedded.ensure_running(folder / "foreign")
    try:
        embedded.stop(home)
        state, other = (embedded._state_folder(at, embedded.server_account()) for at in (home, folder / "foreign"))
        shutil.copy(other / "data" / "postmaster.pid", state / "data" / "postmaster.pid")
        shutil.copy(other / "password", state / "password.foreign")
        kept = (state / "password").read_text()
        (state / "password").write_text(foreign.password)  # even one that lets us in
        assert embedded.find_running(home) is None
        (state / "password").write_text(kept)
        assert embedded.ensure_running(home).password == ours.password
    finally:
        embedded.stop(folder / "foreign")


def test_the_server_listens_on_the_loopback_only_and_asks_for_its_password(home: Path) -> None:
    server = embedded.ensure_running(home)
    with psycopg.connect(server.url("postgres")) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(embedded.EmbeddedServer(server.port, "wrong").url("postgres"))


def test_a_home_that_cannot_be_made_is_told_in_one_sentence(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(PermanentError, match=r"CMMS_HOME .* cannot be created"):
        embedded.ensure_running(folder / "file" / "home")


@needs_root
def test_an_ordinary_user_runs_the_server_as_himself(folder: Path) -> None:
    user = pwd.getpwnam("nobody")
    home = folder / "of-nobody"
    home.mkdir()
    os.chown(home, user.pw_uid, user.pw_gid)
    packages = [str(Path(embedded.__file__).parents[2]), *(path for path in sys.path if path.endswith("site-packages"))]
    interpreter = interpreter_for(embedded.Account("nobody", user.pw_uid, user.pw_gid))
    finished = subprocess.run(
        [interpreter, "-c", START, str(home)],
        user=user.pw_uid,
        group=user.pw_gid,
        extra_groups=[],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    server = embedded.EmbeddedServer(*json.loads(finished.stdout))
    assert answers(server)
    pid = int((home / "postgres" / "data" / "postmaster.pid").read_text().splitlines()[0])
    assert Path(f"/proc/{pid}").stat().st_uid == user.pw_uid
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + 20
    while (home / "postgres" / "data" / "postmaster.pid").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not answers(server)


@needs_root
def test_a_home_under_a_folder_that_is_closed_to_the_servers_account_works_too(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    account = embedded.server_account()
    assert account.is_another
    server = embedded.ensure_running(closed / "home")
    try:
        assert answers(server)
        pid = postmaster(closed / "home", account)
        assert Path(f"/proc/{pid}").stat().st_uid == account.uid
        assert closed.stat().st_mode & 0o777 == 0o700, "the closed folder stays closed"
    finally:
        embedded.stop(closed / "home")
        shutil.rmtree(embedded._state_folder(closed / "home", account))
