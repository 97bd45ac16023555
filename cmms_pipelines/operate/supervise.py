"""Starting services in order, watching them, and stopping all of them, whatever happens to the one who started them.

What belongs here: the life of the processes. What does not: what the services are (`operate.services`), how the processes of a
home are found and ended (`operate.processes`).
"""

import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

import httpx
from filelock import FileLock, Timeout

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.operate import processes
from cmms_pipelines.operate.services import LOOPBACK, Service

START_TIMEOUT_S = 120.0
STOP_GRACE_S = 10.0
LARGEST_LOG_BYTES = 10_000_000
LOG_LINES_SHOWN = 12

Progress = Callable[[str], None]


class StopRequested(BaseException):
    """Somebody asked this process to stop (SIGINT or SIGTERM); no error, so no handler of errors may take it for one."""


@dataclass
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    log: Path
    log_offset: int
    is_ready: bool = False


@dataclass
class Supervisor:
    """The running services of one home. Obtained from `supervised`, which stops them at the end of its block."""

    home: Path
    mark: processes.Mark
    _running: dict[str, _Running] = field(default_factory=dict)

    def start(
        self, services: Sequence[Service], environment: Mapping[str, str], progress: Progress, timeout_s: float = START_TIMEOUT_S
    ) -> None:
        """Start `services` in `environment`, each once those that it comes after are ready, and return when all are
        that are to be awaited.

        Raises:
            PermanentError: a service ended; the message has the last lines of its log.
            TransientError: a service was not ready within `timeout_s`.
        """
        waiting = list(services)
        deadline = time.monotonic() + timeout_s
        with httpx.Client(timeout=2, trust_env=False) as client:
            while waiting or not all(running.is_ready for running in self._running.values() if running.service.is_awaited):
                for service in [service for service in waiting if self._may_start(service)]:
                    waiting.remove(service)
                    self._spawn(service, environment)
                self.check()
                for running in self._running.values():
                    if not running.is_ready and _is_ready(running.service, client):
                        running.is_ready = True
                        progress(f"{running.service.title} is ready")
                if time.monotonic() > deadline:
                    self._give_up(timeout_s)
                time.sleep(0.05)

    def check(self) -> None:
        """Return if all services still run.

        Raises:
            PermanentError: one has ended; the message has the last lines of its log.
        """
        for running in self._running.values():
            status = running.process.poll()
            if status is not None:
                how = f"was ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
                raise PermanentError(f"The {running.service.title} {how}. {_tail(running)}")

    def wait(self) -> NoReturn:
        """Watch the services until one ends (`PermanentError`) or somebody asks this process to stop (`StopRequested`)."""
        while True:
            self.check()
            time.sleep(0.5)

    def stop(self) -> None:
        """End every process that these services are or have started; a second signal meanwhile kills them at once."""
        signals: list[int] = []
        with _handling(lambda number, _frame: signals.append(number)):
            processes.end_all(self.mark, STOP_GRACE_S, is_urgent=lambda: bool(signals))
            for running in self._running.values():
                running.process.wait()
        self._running.clear()

    def _may_start(self, service: Service) -> bool:
        return all(name in self._running and self._running[name].is_ready for name in service.after)

    def _spawn(self, service: Service, environment: Mapping[str, str]) -> None:
        log = self.home / "logs" / f"{service.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            offset = output.tell()
            process = subprocess.Popen(
                service.command,
                env={**environment, **self.mark.environment()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running[service.name] = _Running(service, process, log, offset)

    def _give_up(self, timeout_s: float) -> NoReturn:
        late = next(running for running in self._running.values() if not running.is_ready)
        raise TransientError(f"The {late.service.title} was not ready after {timeout_s:.0f} s. {_tail(late)}")


@contextmanager
def supervised(home: Path, progress: Progress) -> Iterator[Supervisor]:
    """Be the one supervisor of `home` for a block, at the end of which all that it started is stopped.

    What an earlier one left behind is ended first. Within the block SIGINT and SIGTERM raise `StopRequested`.

    Raises:
        PermanentError: the services of this home run already.
    """
    with only_one(home), _handling(_request_stop):
        left_behind = processes.end_all(processes.Mark(home), STOP_GRACE_S)
        if left_behind:
            progress(f"ended {left_behind} processes that an earlier start had left behind")
        mark = processes.Mark(home, secrets.token_hex(8))
        supervisor = Supervisor(home, mark)
        with _watchdog(mark):
            try:
                yield supervisor
            finally:
                supervisor.stop()


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold for a block what the services of `home` hold while they run.

    Raises:
        PermanentError: they run already, or `home` is not ours to write to.
    """
    lock = FileLock(home / "services.lock")
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise PermanentError(
            f"The services of {home} run already: use them, or stop them first (Ctrl-C where they were started); "
            "a second set needs a CMMS_HOME and ports of its own."
        ) from error
    except OSError as error:
        raise PermanentError(f"CMMS_HOME {home} is not a folder that we may write to: {error.strerror}.") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _watchdog(mark: processes.Mark) -> Iterator[None]:
    command = [sys.executable, "-m", "cmms_pipelines.operate.watchdog", str(mark.home), str(mark.start)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True):
        yield  # leaving the block closes its standard input, which it takes for our end, and waits for its own


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    earlier = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous in earlier.items():
            signal.signal(number, previous)


def _request_stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise StopRequested(signal.Signals(number).name)


def _is_ready(service: Service, client: httpx.Client) -> bool:
    if service.ready_port is not None:
        with suppress(OSError), socket.create_connection((LOOPBACK, service.ready_port), timeout=2):
            return True
        return False
    if service.ready_url is None:
        return True
    try:
        return client.get(service.ready_url).is_success
    except httpx.TransportError:
        return False


def _tail(running: _Running) -> str:
    with running.log.open("rb") as file:
        file.seek(running.log_offset)
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return f"Its log {running.log} has no line of this start."
    return f"The last lines of its log {running.log}:\n" + "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:])
