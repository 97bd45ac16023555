"""Child processes of the benchmark: what they print, how much memory they and their own children use, how long they take.

What belongs here: starting, watching and ending processes. What does not: what they do.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

BENCH = Path(__file__).resolve().parents[1]
PROJECT = BENCH.parent
SAMPLE_EVERY_S = 0.02


@dataclass(frozen=True)
class Finished:
    """A child that ended well: the JSON of its last line, and what it used together with its own children."""

    said: dict[str, Any]
    wall_s: float
    peak_mb: float


def environment(extra: Mapping[str, str] = {}) -> dict[str, str]:
    """Return what a child gets: ours without `CMMS_*`, with `bench/` importable, off proxies, and `extra`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    return inherited | {"PYTHONPATH": str(BENCH), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | dict(extra)


def run(command: Sequence[str | Path], *, extra: Mapping[str, str], log: Path) -> Finished:
    """Run a child to its end; what it says on standard error goes into `log`.

    Raises:
        SystemExit: it failed; the end of its log is the message.
    """
    started = time.monotonic()
    with log.open("w") as errors:
        child = subprocess.Popen(
            [str(part) for part in command],
            env=environment({**extra, "BENCH_STARTED_AT": str(started)}),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with _peak_of(child.pid) as peak:
            output, _ = child.communicate()
    if child.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{log.read_text()[-3000:]}{output[-1000:]}")
    lines = output.strip().splitlines()
    said = json.loads(lines[-1]) if lines else {}
    return Finished(said, time.monotonic() - started, round(peak.bytes / 1e6, 1))


def of_ended_children_s() -> float:
    """Return the processor time of all children of this process that have ended, and of theirs."""
    times = os.times()
    return times.children_user + times.children_system


def of_tree_s(pid: int) -> float:
    """Return the processor time of a process and of all its descendants, also of those that have ended."""
    process = psutil.Process(pid)
    while True:
        ended = process.cpu_times()[2:4]
        of_children = sum(map(_used_s, process.children(recursive=True)))
        times = process.cpu_times()
        if times[2:4] == ended:  # else one has ended meanwhile, and might be counted twice or not at all
            return float(sum(times[:4])) + of_children


@contextmanager
def serving(command: Sequence[str | Path]) -> Iterator[str]:
    """Run a server for a block and hand out its first line."""
    child = subprocess.Popen(
        [str(part) for part in command], env=environment(), cwd=PROJECT, stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    try:
        line = child.stdout.readline().strip() if child.stdout else ""
        if not line:
            raise SystemExit(f"{' '.join(map(str, command))} did not start")
        yield line
    finally:
        child.terminate()
        child.wait(timeout=20)


@dataclass
class _Peak:
    bytes: int = 0


@contextmanager
def _peak_of(pid: int) -> Iterator[_Peak]:
    """Watch the memory of a process and its descendants: the largest sum seen, or the kernel's own peak of the process itself.

    Of a descendant only what it shares with nobody counts: one that has just been forked has all pages of its parent.
    """
    peak, is_over = _Peak(), threading.Event()

    def watch() -> None:
        process = psutil.Process(pid)
        while not is_over.wait(SAMPLE_EVERY_S):
            try:
                own, of_others = process.memory_info().rss, sum(map(_unshared, process.children(recursive=True)))
                peak.bytes = max(peak.bytes, _high_water(pid), own + of_others)
            except psutil.NoSuchProcess:
                return

    watcher = threading.Thread(target=watch, name="memory")
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()


def _used_s(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))  # user and system, its own and of its children that have ended
    except psutil.NoSuchProcess:
        return 0.0


def _unshared(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def _high_water(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) * 1024 if found else 0
