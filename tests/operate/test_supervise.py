"""Supervision: services start in order, a dead one is named, and nothing is left behind, whoever is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.operate import ports, processes
from cmms_pipelines.operate.services import Service
from cmms_pipelines.operate.supervise import StopRequested, supervised

SERVER = """
import http.server, subprocess, sys
if "with-child" in sys.argv:  # a grandchild in a session of its own, as far from its parent as can be
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
STUBBORN = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGINT)]; time.sleep(600)"
SUPERVISOR = """
import json, os, sys
from pathlib import Path
from cmms_pipelines.operate.services import Service
from cmms_pipelines.operate.supervise import StopRequested, supervised
home, commands = Path(sys.argv[1]), json.loads(sys.argv[2])
try:
    with supervised(home, lambda text: None) as supervisor:
        services = [Service(name, name, tuple(command)) for name, command in commands.items()]
        supervisor.start(services, os.environ, lambda text: None)
        print("up", flush=True)
        supervisor.wait()
except StopRequested as request:
    print("stopped by", request, flush=True)
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    assert processes.end_all(processes.Mark(tmp_path / "home"), 0) == 0, "a test left processes behind"


def python(code: str, *arguments: object) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *map(str, arguments))


def http_service(name: str, *arguments: str, after: tuple[str, ...] = ()) -> Service:
    port = ports.free_port()
    return Service(name, f"{name} service", python(SERVER, port, *arguments), after, ready_url=f"http://127.0.0.1:{port}/")


def silent(_message: str) -> None:
    """Take progress and say nothing."""


def supervisor_elsewhere(home: Path, **commands: tuple[str, ...]) -> "subprocess.Popen[str]":
    arguments = [sys.executable, "-c", SUPERVISOR, str(home), json.dumps(commands)]
    started = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "up\n"
    return started


def gone_within(seconds: float, found: list[psutil.Process]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in found):
            return True
        time.sleep(0.05)
    return False


def test_a_service_starts_once_those_before_it_are_ready_and_all_end_with_the_block(home: Path) -> None:
    said: list[str] = []
    with supervised(home, said.append) as supervisor:
        supervisor.start([http_service("second", after=("first",)), http_service("first", "with-child")], os.environ, said.append)
        found = processes.marked(processes.Mark(home))
        assert len(found) == 3
        supervisor.check()
    assert said == ["first service is ready", "second service is ready"]
    assert gone_within(5, found)


def test_a_service_that_ends_is_named_with_the_last_lines_of_its_log(home: Path) -> None:
    broken = Service(
        "broken", "broken service", python("import sys; print('the reason'); sys.exit(7)"), ready_port=ports.free_port()
    )
    with (
        pytest.raises(PermanentError, match=r"(?s)The broken service ended with exit status 7.*broken\.log:.*  the reason"),
        supervised(home, silent) as supervisor,
    ):
        supervisor.start([http_service("fine"), broken], os.environ, silent)


def test_a_service_that_ends_later_is_found_by_whoever_waits(home: Path) -> None:
    service = http_service("victim")
    with supervised(home, silent) as supervisor:
        supervisor.start([service], os.environ, silent)
        [process] = processes.marked(processes.Mark(home))
        process.kill()
        with pytest.raises(PermanentError, match="The victim service was ended by signal 9"):
            supervisor.wait()


def test_a_service_that_never_becomes_ready_is_given_up(home: Path) -> None:
    slow = Service("slow", "slow service", python("import time; time.sleep(600)"), ready_port=ports.free_port())
    with (
        pytest.raises(TransientError, match=r"slow service was not ready after 0 s.*no line of this start"),
        supervised(home, silent) as supervisor,
    ):
        supervisor.start([slow], os.environ, silent, timeout_s=0.3)


def test_a_service_that_ignores_the_request_to_end_is_killed(home: Path) -> None:
    with supervised(home, silent) as supervisor:
        supervisor.start([Service("stubborn", "stubborn service", python(STUBBORN))], os.environ, silent)
        found = processes.marked(processes.Mark(home))
        time.sleep(0.3)
        assert processes.end_all(supervisor.mark, grace_s=0.3) == len(found) == 1
    assert gone_within(1, found)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_everything_in_order(home: Path, number: signal.Signals) -> None:
    with supervisor_elsewhere(home, one=python(SERVER, ports.free_port(), "with-child")) as supervisor:
        assert len(found := processes.marked(processes.Mark(home))) >= 1
        supervisor.send_signal(number)
        assert supervisor.stdout is not None
        assert supervisor.stdout.read() == f"stopped by {number.name}\n"
    assert gone_within(1, found)


def test_a_second_signal_does_not_wait_for_a_stubborn_service(home: Path) -> None:
    with supervisor_elsewhere(home, stubborn=python(STUBBORN)) as supervisor:
        time.sleep(0.3)
        started = time.monotonic()
        supervisor.send_signal(signal.SIGINT)
        time.sleep(0.5)
        supervisor.send_signal(signal.SIGINT)
        supervisor.wait(timeout=8)
    assert time.monotonic() - started < 5


def test_a_supervisor_that_is_killed_leaves_nothing_behind(home: Path) -> None:
    with supervisor_elsewhere(home, one=python(SERVER, ports.free_port(), "with-child"), two=python(STUBBORN)) as supervisor:
        time.sleep(0.5)
        found = processes.marked(processes.Mark(home))
        watchdog = [child for child in psutil.Process(supervisor.pid).children() if "watchdog" in " ".join(child.cmdline())]
        assert len(found) == 3
        assert len(watchdog) == 1
        os.killpg(supervisor.pid, signal.SIGKILL)
    assert gone_within(10, found + watchdog)


def test_what_supervisor_and_watchdog_left_when_both_were_killed_is_ended_by_the_next_start(home: Path) -> None:
    with supervisor_elsewhere(home, one=python(SERVER, ports.free_port())) as supervisor:
        found = processes.marked(processes.Mark(home))
        for child in psutil.Process(supervisor.pid).children():
            if child not in found:
                child.kill()
        supervisor.kill()
    said: list[str] = []
    with supervised(home, said.append):
        assert gone_within(1, found)
    assert said == [f"ended {len(found)} processes that an earlier start had left behind"]


def test_a_home_has_one_supervisor_at_a_time(home: Path) -> None:
    with supervised(home, silent):
        with pytest.raises(PermanentError, match="run already"), supervised(home, silent):
            pass
        with supervised(home.with_name("other"), silent):
            pass
    with supervised(home, silent):
        pass


def test_a_signal_within_the_block_is_no_error_that_a_handler_could_swallow(home: Path) -> None:
    with pytest.raises(StopRequested, match="SIGTERM"), supervised(home, silent):
        signal.raise_signal(signal.SIGTERM)
    assert not issubclass(StopRequested, Exception)


def test_a_taken_port_is_told_with_the_service_and_the_variable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            PermanentError, match=rf"Port {port} of 127.0.0.1 is taken, so the Dagster UI cannot start.*CMMS_DAGSTER_PORT"
        ):
            ports.claim("127.0.0.1", port, service="Dagster UI", variable="CMMS_DAGSTER_PORT")
    assert ports.claim("127.0.0.1", port, service="Dagster UI", variable="CMMS_DAGSTER_PORT") == port
    assert ports.is_free("127.0.0.1", ports.claim("127.0.0.1", 0, service="any", variable="ANY"))


def test_a_host_that_is_not_ours_has_no_port() -> None:
    with pytest.raises(PermanentError, match="is it an address of this machine"):
        ports.free_port("192.0.2.1")


def test_large_logs_are_put_aside_at_the_next_start(home: Path) -> None:
    log = home / "logs" / "fine.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"old\n" * 3_000_000)
    with supervised(home, silent) as supervisor:
        supervisor.start([http_service("fine")], os.environ, silent)
    assert log.with_suffix(".log.1").stat().st_size == 12_000_000
    assert log.stat().st_size < 1_000
