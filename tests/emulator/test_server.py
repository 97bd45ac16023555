"""The emulator as a process: it starts quickly, answers quickly and stops when told."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import httpx
import pytest

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.server import create_app, listen
from tests.emulator_server import running_emulator

SERVE = """
import sys
from cmms_pipelines.emulator.faults import Faults
from cmms_pipelines.emulator.server import create_app, serve
serve("127.0.0.1", 0, create_app("t", Faults.parse("500=0.1")), on_listening=lambda url: print(url, flush=True))
"""


def test_it_serves_until_it_is_interrupted_or_terminated() -> None:
    with ExitStack() as stack:
        started = [stack.enter_context(_serving()) for _ in range(2)]  # at once: most of the time is imports
        for process in started:
            stack.callback(process.kill)
        for process, stop in zip(started, (signal.SIGINT, signal.SIGTERM), strict=True):
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().strip()
            with httpx.Client(base_url=url, trust_env=False, timeout=10) as http:
                assert http.get("/health").json()["status"] == "ok"
            process.send_signal(stop)
            assert process.wait(timeout=5) == (0 if stop == signal.SIGINT else -stop)
            assert process.stderr.read() == ""


def _serving() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_day_of_five_plants_is_answered_in_milliseconds() -> None:
    window = {"start_date": "2013-10-28", "end_date": "2013-10-28"}
    body = {"plant": ["B6JF", "DLLG", "EVEW", "UAEW", "WNEW"]}
    seconds = []
    with running_emulator() as emulator, emulator.http() as http:
        for _ in range(20):
            start = time.perf_counter()
            reply = http.request("GET", "/equipments/jam-jalan", params=window, json=body)
            seconds.append(time.perf_counter() - start)
    assert len(reply.json()["data"]) > 200
    assert min(seconds) < 0.05


def test_a_taken_port_is_one_clear_sentence() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PermanentError, match=f"cannot listen on 127.0.0.1:{port}"):
            listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("token", "dialect", "message"), [("", "ims", "token"), ("t", "odata_v3", "speaks ims, odata_v2, odata_v4")]
)
def test_an_emulator_that_cannot_work_does_not_start(token: str, dialect: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        create_app(token, dialect=dialect)
