"""One demo for all tests of this folder: run once to its end, then started again and kept up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cmms_pipelines.operate import processes
from cmms_pipelines.storage import embedded

TIMEOUT_S = 600
COMMAND = [sys.executable, "-m", "cmms_pipelines.cli", "demo", "--json"]


@dataclass(frozen=True)
class TwoStarts:
    """What both starts of the demo printed, the second of which is still up, and the wall time until each summary."""

    home: Path
    environment: dict[str, str]
    first: dict[str, Any]
    first_s: float
    second: dict[str, Any]
    second_s: float
    process: "subprocess.Popen[str]"


@pytest.fixture(scope="session")
def demo() -> Iterator[TwoStarts]:
    folder = Path(tempfile.mkdtemp(prefix="cmms-demo-"))
    folder.chmod(0o755)  # as root the database runs as another user, who must get in
    home = folder / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
    environment |= {"CMMS_HOME": str(home), "CMMS_DAGSTER_PORT": "0", "CMMS_WEBHOOK_PORT": "0", "CMMS_EMULATOR_PORT": "0"}
    try:
        started = time.monotonic()
        once = subprocess.run(
            [*COMMAND, "--once"], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        first_s = time.monotonic() - started
        assert once.returncode == 0, f"{once.stderr}\n{once.stdout}"
        assert processes.marked(processes.Mark(home)) == [], "the first demo left processes behind"
        assert embedded.find_running(home) is None, "the first demo left its database running"
        environment["CMMS_DAGSTER_READ_ONLY_PORT"] = "0"
        yield from _second_start(home, environment, json.loads(once.stdout), first_s)
    finally:
        processes.end_all(processes.Mark(home), 5)
        embedded.stop(home)
        shutil.rmtree(folder, ignore_errors=True)


def _second_start(home: Path, environment: dict[str, str], first: dict[str, Any], first_s: float) -> Iterator[TwoStarts]:
    said = home / "second.stderr"
    with (
        said.open("w") as errors,
        subprocess.Popen(
            COMMAND, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        ) as process,
    ):
        try:
            started = time.monotonic()
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, said.read_text()
            yield TwoStarts(home, environment, first, first_s, json.loads(line), time.monotonic() - started, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(timeout=60)
