"""How long a signed event waits until the run that applies it: the whole system, started as `cmms up` starts it.

What belongs here: loads on the running system and the latencies that its database tells. What does not: the receiver alone
(`receiving.receive`), the load itself (`receiving.load`, a process of its own).
"""

import datetime as dt
import random
import secrets
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import sqlalchemy as sa
from pydantic import SecretStr

from cmms_pipelines.domain.roles import Role
from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.operate import processes
from cmms_pipelines.operate.dagster_api import DagsterApi
from cmms_pipelines.operate.stack import Stack, running
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.engine import make_engine
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks
from cmms_pipelines.storage.tokens import create_token
from receiving import mixed
from receiving.load import Plan, orders
from receiving.notes import Notes
from receiving.receive import quantile, run_load

FULL = {"rounds": 3, "cold": 4, "singles": 40, "singles_span_s": 120, "sustained_s": 600, "burst": 5000, "idle_s": 60}
QUICK = {"rounds": 1, "cold": 0, "singles": 5, "singles_span_s": 5, "sustained_s": 5, "burst": 1000, "idle_s": 0}
DRAIN_LEAVES_S = 45.0  # a drain stays for half a minute after the last event; then the next event finds nobody at work
_CONNECTIONS = 64
_UNFINISHED = ("pending", "held", "quarantined", "dead_letter")


class Field:
    """The running system as the loads see it; each load sends as a system of its own."""

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self.stack, self.say = stack, say
        self.engine = make_engine(stack.databases.cmms)
        self.secret = secrets.token_urlsafe(32)
        mixed.add_aircraft(self.engine)

    def register(self, system: str) -> None:
        register_source(self.engine, self.stack.settings, system, WebhookSource(), secret=SecretStr(self.secret), actor="bench")

    def send(self, system: str, due_s: Sequence[float], bodies: list[str] | None = None) -> dict[str, Any]:
        """Register a system and post events as it, open loop; return when all are answered."""
        self.register(system)
        time.sleep(1.5)  # the receiver looks at its sources once a second
        address = urlsplit(self.stack.webhook_address)
        path = f"/api/v1/hooks/maintenance/events/{system}"
        seconds = due_s[-1] + 30
        plan = Plan(
            address.hostname or "", address.port or 0, path, self.secret, system, seconds, _CONNECTIONS, 0, list(due_s), bodies
        )
        return run_load(plan)

    def latencies(self, system: str, count: int, timeout_s: float = 120.0) -> list[float]:
        """Wait until `count` events of a system are settled; return their latencies in seconds, sorted.

        They are the database's own: from `created_at` (the commit before the 202) to `processed_at`.
        """
        waited = sa.extract("epoch", hooks.c.processed_at - hooks.c.created_at)
        of_system = sa.select(waited).where(hooks.c.cmms_system_id == system)
        statement = of_system.where(hooks.c.processing_status.not_in(_UNFINISHED))
        deadline = time.monotonic() + timeout_s
        while True:
            with self.engine.connect() as connection:
                found = sorted(float(value) for value in connection.scalars(statement))
            if len(found) == count:
                return found
            if time.monotonic() > deadline:
                raise SystemExit(f"{system}: {len(found)} of {count} events were applied after {timeout_s} s")
            time.sleep(0.2)


PIECES = ("cold", "singles", "sustained", "burst", "status", "idle_cost")


def measure(home: Path, *, is_quick: bool, notes: Notes) -> None:
    """Start the system on free ports, run the loads one after another, stop it."""
    plan = QUICK if is_quick else FULL
    with running(Settings(home=home, webhook_port=0, dagster_port=0), notes.say) as stack:
        field = Field(stack, notes.say)
        try:
            _wait_for_daemon(stack.dagster_address)
            if notes.wants("cold") and plan["cold"]:
                notes.add(_cold_starts(field, plan["cold"]))
            if notes.wants("singles"):
                notes.add({"singles": plan["singles"]})
                found = notes.add_medians(_single_series(field, plan))
                notes.add({"applied_worst_s": max(one["applied_max_s"] for one in found)})
            if notes.wants("sustained"):
                notes.add(_sustained(field, plan["sustained_s"]))
            if notes.wants("burst"):
                notes.add_medians(_burst(field, plan["burst"], number) for number in range(plan["rounds"]))
            if notes.wants("status"):
                notes.add(_status_latency(field))
            if notes.wants("idle_cost") and plan["idle_s"]:
                notes.say("waiting until the drain has gone, then idle")
                time.sleep(DRAIN_LEAVES_S)
                notes.add({"idle_core_share": _idle_core_share(home, plan["idle_s"])})
            with field.engine.connect() as connection:
                notes.add({"runs": connection.scalar(sa.select(sa.func.count(hooks.c.dagster_run_id.distinct()))) or 0})
        finally:
            field.engine.dispose()


def _cold_starts(field: Field, count: int) -> dict[str, float | int]:
    found: list[float] = []
    for number in range(count):
        field.say(f"cold start {number + 1} of {count}: an event that finds no drain at work")
        field.send(f"cold-{number}", [0.0])
        found += field.latencies(f"cold-{number}", 1)
        field.say(f"applied after {found[-1]:.3f} s")
        time.sleep(DRAIN_LEAVES_S)
    return {"cold_starts": count, "cold_p50_s": statistics.median(found), "cold_max_s": max(found)}


def _single_series(field: Field, plan: dict[str, int]) -> Iterator[dict[str, float]]:
    """Send single events at random times, in each round another series; the first event finds no drain at work."""
    chance = random.Random(7)  # noqa: S311 - a load, not a secret
    for number in range(plan["rounds"]):
        if number:
            time.sleep(DRAIN_LEAVES_S)
        field.say(f"{plan['singles']} single events at random times within {plan['singles_span_s']} s, the first from cold")
        field.send(f"single-{number}", sorted(chance.uniform(0, plan["singles_span_s"]) for _ in range(plan["singles"])))
        found = field.latencies(f"single-{number}", plan["singles"])
        yield {"applied_p50_s": statistics.median(found), "applied_p95_s": quantile(found, 0.95), "applied_max_s": found[-1]}


def _sustained(field: Field, seconds: int) -> dict[str, float | int]:
    field.say(f"1000 events a minute for {seconds} s")
    count = seconds * 1000 // 60
    field.send("sustained", [number * 0.06 for number in range(count)])
    found = field.latencies("sustained", count)
    return {
        "sustained_s": seconds,
        "sustained_1000_per_min_p50_s": statistics.median(found),
        "sustained_1000_per_min_p99_s": quantile(found, 0.99),
        "sustained_1000_per_min_max_s": found[-1],
    }


def _burst(field: Field, count: int, number: int) -> dict[str, float | int]:
    """Post a mixture of real events at once; the time runs from the first request to the last event settled."""
    field.say(f"a burst of {count} mixed events")
    system = f"{mixed.MIXED_SYSTEM}-{number}"
    bodies = [body.replace(f'"{mixed.MIXED_SYSTEM}"', f'"{system}"') for body in mixed.bodies(count)]
    answered = field.send(system, [0.0] * count, bodies)
    field.latencies(system, count)
    first, last = sa.func.min(hooks.c.created_at), sa.func.max(hooks.c.processed_at)
    with field.engine.connect() as connection:
        statement = sa.select(sa.extract("epoch", last - first)).where(hooks.c.cmms_system_id == system)
        spread = float(connection.scalar(statement) or 0)
    before_the_first_commit = answered["latencies_ms"][0] / 1000
    return {"burst": count, "burst_5000_s": spread + before_the_first_commit, "burst_answered_s": answered["seconds"]}


def _status_latency(field: Field) -> dict[str, float]:
    """Measure how long after its commit the effect of an event shows in the status API."""
    field.register("status")
    with field.engine.begin() as connection:
        token = create_token(connection, "bench", Role.VIEWER, actor="bench")[1].get_secret_value()
    time.sleep(1.5)
    events_url = f"{field.stack.webhook_address}/api/v1/hooks/maintenance/events/status"
    key, found = key_of(SchemeName.HMAC_HEX, field.secret), []
    with httpx.Client(trust_env=False) as client:
        for body in orders("status", 10, dt.datetime.now(dt.UTC)):
            headers = sign(SchemeName.HMAC_HEX, key, body, dt.datetime.now(dt.UTC)) | {"content-type": "application/json"}
            stored = client.post(events_url, content=body, headers=headers).raise_for_status().json()["id"]
            processed_at = None
            while processed_at is None:
                asked = {"authorization": f"Bearer {token}"}
                event = client.get(f"{field.stack.webhook_address}/api/v1/cmms/events/{stored}", headers=asked).raise_for_status()
                processed_at = event.json()["processed_at"]
                seen_at = dt.datetime.now(dt.UTC)
            found.append((seen_at - dt.datetime.fromisoformat(processed_at)).total_seconds())
    return {"status_seen_max_s": max(found)}


def _idle_core_share(home: Path, seconds: float) -> float:
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


def _wait_for_daemon(address: str) -> None:
    """Wait until every daemon of Dagster has given a sign of life: from then on the system is as it is all day."""
    with DagsterApi(address) as dagster:
        while dagster.unhealthy_daemons() or dagster.unloaded_locations():
            time.sleep(0.5)
    time.sleep(10)
