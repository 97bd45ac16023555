"""What the receiver takes, and how long a signed event waits until the run that applies it.

`--only receive` measures the receiver alone (`bench/receiving`): no Dagster, load from another process. `--only apply` measures
the whole running system. Without `--only` both, one after the other.

The system is started as `cmms up` starts it (embedded PostgreSQL with fsync on, sidecar, Dagster with daemon and sensor), on free
ports and in a state folder of its own. Events are sent by this process, open loop: at their time, whether or not the one before
has been answered. The latency is the database's own: from `created_at` (the commit before the 202) to `processed_at`.

    python bench/webhook.py [--json] [--quick] [--only receive|apply]

Figures of the receiver, medians of three rounds: `requests_per_s`, `p50_ms`, `p99_ms` at 100 connections that each wait for their
answer; `p50_ms_at_200_per_s`, `p99_ms_at_200_per_s` of events that are due at fixed times; `p99_ms_beside_1000_idle`, the same
beside a thousand connections that began a request and went silent; `receiver_cpu_us_per_request`; `load_cpu_share`, what the load
itself took of a core; `drain_per_s`, events that wait (100,000 and those of the rounds) applied by one drain.

Figures of the whole: `cold_p50_s`, `cold_max_s` of single events that find no drain at work; `applied_p50_s`, `applied_p95_s` and
`applied_max_s` of single events at random times, the first from cold; `sustained_1000_per_min_p50_s`, `_p99_s`, `_max_s`;
`burst_5000_s` from the first request to the last event applied; `idle_core_share`, the CPU seconds per second of all services
and the database together when idle; `runs`, the drain runs that the UI shows.
"""

import argparse
import datetime as dt
import json
import math
import random
import secrets
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson
import psutil
import sqlalchemy as sa
from pydantic import SecretStr
from receiving import receive

from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.operate import processes
from cmms_pipelines.operate.dagster_api import DagsterApi
from cmms_pipelines.operate.stack import Stack, running
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks

SYSTEM = "bench"
FULL = {"cold": 4, "singles": 40, "singles_span_s": 160, "sustained_s": 180, "burst": 5000, "idle_s": 60}
QUICK = {"cold": 0, "singles": 5, "singles_span_s": 10, "sustained_s": 10, "burst": 500, "idle_s": 2}
DRAIN_LEAVES_S = 45.0  # a drain stays for half a minute after the last event; then the next event finds nobody at work


class Sender:
    """Signs and posts events at given times, from a pool of threads with connections kept alive."""

    def __init__(self, address: str, secret: str) -> None:
        self._url = f"{address}/api/v1/hooks/maintenance/events/{SYSTEM}"
        self._key = key_of(SchemeName.HMAC_HEX, secret)
        self._client = httpx.Client(timeout=30, trust_env=False, limits=httpx.Limits(max_connections=64))
        self._pool = ThreadPoolExecutor(64)

    def send(self, label: str, number: int) -> None:
        """Post one event; `label` and `number` make its work order and its id."""
        now = dt.datetime.now(dt.UTC)
        event = {
            "event_id": f"{label}-{number}",
            "event_type": "work_order_created",
            "cmms_system_id": SYSTEM,
            "timestamp": now.isoformat(),
            "payload": {
                "work_order_number": f"{label}-{number}",
                "title": "Replace filter",
                "status": "open",
                "priority": "high",
            },
        }
        body = orjson.dumps(event)
        headers = sign(SchemeName.HMAC_HEX, self._key, body, now) | {"content-type": "application/json"}
        self._client.post(self._url, content=body, headers=headers).raise_for_status()

    def send_at(self, label: str, offsets_s: Sequence[float]) -> None:
        """Post events at these offsets from now and return when all are answered."""
        started = time.monotonic()
        sent: list[Future[None]] = []
        for number, offset in enumerate(offsets_s):
            time.sleep(max(0.0, started + offset - time.monotonic()))
            sent.append(self._pool.submit(self.send, label, number))
        for future in sent:
            future.result()


def latencies(engine: sa.Engine, label: str, count: int, timeout_s: float = 120.0) -> list[float]:
    """Wait until `count` events of a label are applied; return their latencies in seconds, sorted."""
    waited = sa.extract("epoch", hooks.c.processed_at - hooks.c.created_at)
    statement = sa.select(waited).where(hooks.c.dedup_key.like(f"id:{label}-%"), hooks.c.processing_status == "processed")
    deadline = time.monotonic() + timeout_s
    while True:
        with engine.connect() as connection:
            found = sorted(float(value) for value in connection.scalars(statement))
        if len(found) == count:
            return found
        if time.monotonic() > deadline:
            raise SystemExit(f"{label}: {len(found)} of {count} events were applied after {timeout_s} s")
        time.sleep(0.2)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values stay within (nearest rank)."""
    return round(ordered[max(0, math.ceil(share * len(ordered)) - 1)], 4)


def idle_core_share(home: Path, seconds: float) -> float:
    """Return the CPU seconds per second that all services together use while nothing happens."""
    members = [*processes.marked(processes.Mark(home)), *_database_processes(home)]

    def used() -> float:
        total = 0.0
        for process in members:
            if process.is_running():
                times = process.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system  # also of those that ended
        return total

    before = used()
    time.sleep(seconds)
    return round((used() - before) / seconds, 4)


def _database_processes(home: Path) -> list[psutil.Process]:
    """Return the embedded server's processes."""
    postmaster = psutil.Process(int((home / "postgres" / "data" / "postmaster.pid").read_text().split()[0]))
    return [postmaster, *postmaster.children(recursive=True)]


def wait_for_daemon(address: str) -> None:
    """Wait until every daemon of Dagster has given a sign of life: from then on the system is as it is all day."""
    with DagsterApi(address) as dagster:
        while dagster.unhealthy_daemons() or dagster.unloaded_locations():
            time.sleep(0.5)
    time.sleep(10)


def measure(stack: Stack, plan: dict[str, int], say: Callable[[str], None]) -> dict[str, float | int]:
    """Run all loads on a started system, one after another."""
    engine = make_engine(stack.databases.cmms)
    secret = secrets.token_urlsafe(32)
    register_source(engine, stack.settings, SYSTEM, WebhookSource(), secret=SecretStr(secret), actor="bench")
    sender = Sender(stack.webhook_address, secret)
    figures: dict[str, float | int] = {}
    wait_for_daemon(stack.dagster_address)

    for number in range(plan["cold"]):
        say(f"cold start {number + 1} of {plan['cold']}: an event that finds no drain at work")
        sender.send("cold", number)
        found = latencies(engine, "cold", number + 1)
        time.sleep(DRAIN_LEAVES_S)
        figures |= {"cold_starts": len(found), "cold_p50_s": statistics.median(found), "cold_max_s": found[-1]}

    say(f"{plan['singles']} single events at random times within {plan['singles_span_s']} s, the first from cold")
    chance = random.Random(7)  # noqa: S311 - a load, not a secret
    sender.send_at("single", sorted(chance.uniform(0, plan["singles_span_s"]) for _ in range(plan["singles"])))
    found = latencies(engine, "single", plan["singles"])
    figures |= {"singles": len(found), "applied_p50_s": statistics.median(found), "applied_p95_s": quantile(found, 0.95)}
    figures |= {"applied_max_s": round(found[-1], 4)}

    count = plan["sustained_s"] * 1000 // 60
    say(f"1000 events a minute for {plan['sustained_s']} s")
    sender.send_at("sustained", [number * 0.06 for number in range(count)])
    found = latencies(engine, "sustained", count)
    figures |= {"sustained_1000_per_min_p50_s": statistics.median(found), "sustained_1000_per_min_p99_s": quantile(found, 0.99)}
    figures |= {"sustained_1000_per_min_max_s": round(found[-1], 4)}

    say(f"a burst of {plan['burst']} events")
    started = time.monotonic()
    sender.send_at("burst", [0.0] * plan["burst"])
    latencies(engine, "burst", plan["burst"])
    figures |= {"burst": plan["burst"], "burst_5000_s": round(time.monotonic() - started, 3)}

    say("waiting until the drain has gone, then idle")
    time.sleep(DRAIN_LEAVES_S if plan is FULL else 2)
    figures["idle_core_share"] = idle_core_share(stack.settings.home, plan["idle_s"])
    with engine.connect() as connection:
        figures["runs"] = connection.scalar(sa.select(sa.func.count(hooks.c.dagster_run_id.distinct()))) or 0
    engine.dispose()
    return {name: round(value, 4) for name, value in figures.items()}


@contextmanager
def state_folder() -> Iterator[Path]:
    """Give an empty state folder, and remove it."""
    home = Path(tempfile.mkdtemp(prefix="cmms-bench-"))
    home.chmod(0o755)  # as root the database runs as another user, who must get in
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    """Start the system, measure, stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quick", action="store_true", help="within a minute, for a look")
    parser.add_argument("--only", choices=("receive", "apply"), help="one half")
    arguments = parser.parse_args()

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    figures: dict[str, float | int] = {}
    if arguments.only != "apply":
        with state_folder() as home:
            figures |= receive.measure(home, is_quick=arguments.quick, say=say)
    if arguments.only != "receive":
        with state_folder() as home, running(Settings(home=home, webhook_port=0, dagster_port=0), say) as stack:
            figures |= measure(stack, QUICK if arguments.quick else FULL, say)
    if arguments.json:
        print(json.dumps(figures))
    else:
        for name, value in figures.items():
            print(f"{name:32} {value}")


if __name__ == "__main__":
    main()
