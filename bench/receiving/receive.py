"""What the receiver takes: throughput, latency at full and at ordinary load, beside a thousand idle connections; and the drain.

What belongs here: the sidecar alone, as a process, on an embedded PostgreSQL with fsync on. What does not: the whole system
(`bench/webhook.py`), the load itself (`receiving.load`, a process of its own).
"""

import json
import math
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

import orjson
import psutil
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.engine import make_url

from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import embedded, migrate
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.drain import drain
from cmms_pipelines.storage.engine import ensure_database, locate, make_engine
from cmms_pipelines.storage.inbox import ReceivedHook, accept
from cmms_pipelines.storage.tables import maintenance_event_hooks as hooks
from receiving.load import Plan
from receiving.network import Delay, slow_network
from receiving.notes import Notes

SYSTEM = "bench"
PATH = f"/api/v1/hooks/maintenance/events/{SYSTEM}"
FULL = {"rounds": 3, "seconds": 15, "waiting": 100_000}
QUICK = {"rounds": 1, "seconds": 3, "waiting": 5_000}
ORDINARY_PER_S = 200
SUSTAINED_PER_S = 3_000
IDLE_CONNECTIONS = 1_000
TO_THE_SENDER = Delay(ms=20, jitter_ms=20)
TO_THE_DATABASE = Delay(ms=2, jitter_ms=4)
_FOLDER = Path(__file__).parent
_GROUP = 500


class Lab:
    """An embedded database, a registered source and one sidecar process."""

    def __init__(self, home: Path, say: Callable[[str], None]) -> None:
        self.home, self.say, self.secret = home, say, secrets.token_urlsafe(32)
        settings = Settings(home=home)
        self.databases = locate(settings)
        ensure_database(self.databases.cmms)
        self.engine = make_engine(self.databases.cmms)
        migrate.upgrade(self.engine)
        register_source(self.engine, settings, SYSTEM, WebhookSource(), secret=SecretStr(self.secret), actor="bench")

    @contextmanager
    def sidecar(self, database_url: str | None = None) -> Iterator[psutil.Process]:
        """Run the receiver; its address is `host` and `port` afterwards."""
        log = self.home / "sidecar.log"
        environment = os.environ | {
            "CMMS_HOME": str(self.home),
            "CMMS_DATABASE_URL": database_url or self.databases.cmms,
            "DAGSTER_DATABASE_URL": self.databases.dagster,
            "CMMS_WEBHOOK_PORT": "0",
        }
        with log.open("wb") as output:
            command = [sys.executable, "-m", "cmms_webhook"]
            process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            while b"webhook_receiver_listening" not in log.read_bytes():
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            (line,) = [line for line in log.read_text().splitlines() if "webhook_receiver_listening" in line]
            address = json.loads(line)["address"]
            self.host, self.port = "127.0.0.1", int(address.rpartition(":")[2])
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)

    def load(self, label: str, seconds: float, **plan: float) -> dict[str, Any]:
        """Run one load in a process of its own and check that every event was stored before it was answered."""
        wanted = {"host": self.host, "port": self.port, "path": PATH, "secret": self.secret}
        return run_load(Plan(**(wanted | {"label": f"{label}-{time.time_ns()}", "seconds": seconds} | plan)))  # type: ignore[arg-type]

    def close(self) -> None:
        self.engine.dispose()
        embedded.stop(self.home)

    def stored(self) -> int:
        with self.engine.connect() as connection:
            return cast("int", connection.scalar(sa.select(sa.func.count()).select_from(hooks)))


def run_load(plan: Plan) -> dict[str, Any]:
    """Run one load in a process of its own; every event must have been answered 202."""
    done = subprocess.run(
        [sys.executable, str(_FOLDER / "load.py")], input=json.dumps(asdict(plan)), stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    assert set(found["statuses"]) == {"202"}, found["statuses"]
    assert not found["lost"], f"{found['lost']} connections were lost"
    assert not found["unsent"], f"{found['unsent']} events found no free connection in time"
    return found


PIECES = ("ceiling", "rounds", "idle", "far", "far_database", "drain")


def measure(home: Path, *, is_quick: bool, notes: Notes) -> None:
    """Note the figures of the receiver, those of rounds as medians of all."""
    plan = QUICK if is_quick else FULL
    lab = Lab(home, notes.say)
    seconds = plan["seconds"]
    try:
        if notes.wants("ceiling"):
            notes.add(_ceiling(lab, seconds))
        if any(notes.wants(piece) for piece in ("rounds", "idle", "far")):
            with lab.sidecar() as sidecar:
                lab.load("warm-up", 2)
                if notes.wants("rounds"):
                    notes.add_medians(_round(lab, sidecar, seconds, number) for number in range(plan["rounds"]))
                if notes.wants("idle"):
                    notes.add(_beside_idle_ones(lab, seconds))
                if notes.wants("far"):
                    notes.add(_far_from_the_sender(lab, seconds))
        if notes.wants("far_database"):
            notes.add(_far_from_the_database(lab, seconds))
        if notes.wants("drain"):
            notes.add(_drain(lab, plan["waiting"]))
    finally:
        lab.close()


def _ceiling(lab: Lab, seconds: int) -> dict[str, float]:
    """Measure the load alone: what it reaches against a server that only answers."""
    lab.say(f"the load against a server that does nothing, {seconds} s at 100 connections")
    with subprocess.Popen([sys.executable, str(_FOLDER / "bare.py")], stdout=subprocess.PIPE, text=True) as bare:
        try:
            assert bare.stdout is not None
            port = int(bare.stdout.readline())
            found = run_load(Plan("127.0.0.1", port, PATH, lab.secret, "ceiling", seconds, prepared=20_000 * seconds))
        finally:
            bare.terminate()
    return {"load_ceiling_per_s": round(found["answered"] / found["seconds"], 1)}


def _round(lab: Lab, sidecar: psutil.Process, seconds: int, number: int) -> dict[str, float]:
    lab.say(
        f"round {number + 1}: {seconds} s each: 100 connections, {SUSTAINED_PER_S} events a second, {ORDINARY_PER_S} a second"
    )
    before, used = lab.stored(), sum(sidecar.cpu_times()[:2])
    full = lab.load(f"full-{number}", seconds)
    used = sum(sidecar.cpu_times()[:2]) - used
    assert lab.stored() - before == full["answered"]
    sustained = lab.load(f"sustained-{number}", seconds, per_s=SUSTAINED_PER_S)
    ordinary = lab.load(f"ordinary-{number}", seconds, per_s=ORDINARY_PER_S)
    return {
        "requests_per_s": full["answered"] / full["seconds"],
        "p50_ms": quantile(full["latencies_ms"], 0.5),
        "p99_ms": quantile(full["latencies_ms"], 0.99),
        "p50_ms_at_3000_per_s": quantile(sustained["latencies_ms"], 0.5),
        "p99_ms_at_3000_per_s": quantile(sustained["latencies_ms"], 0.99),
        "p50_ms_at_200_per_s": quantile(ordinary["latencies_ms"], 0.5),
        "p99_ms_at_200_per_s": quantile(ordinary["latencies_ms"], 0.99),
        "receiver_cpu_us_per_request": used / full["answered"] * 1e6,
        "load_cpu_share": full["cpu_share"],
    }


def _beside_idle_ones(lab: Lab, seconds: int) -> dict[str, float]:
    """Measure again while connections are open that send the beginning of a request and then nothing."""
    lab.say(f"{IDLE_CONNECTIONS} idle connections beside {ORDINARY_PER_S} events a second")
    idle = [socket.create_connection((lab.host, lab.port)) for _ in range(IDLE_CONNECTIONS)]
    try:
        for connection in idle:
            connection.sendall(f"POST {PATH} HTTP/1.1\r\nhost: a\r\nx-slow: ".encode())
        found = lab.load("idle", seconds, per_s=ORDINARY_PER_S)
    finally:
        for connection in idle:
            connection.close()
    return {"p99_ms_beside_1000_idle": round(quantile(found["latencies_ms"], 0.99), 3)}


def _far_from_the_sender(lab: Lab, seconds: int) -> dict[str, float]:
    """Measure with a slow network between sender and receiver."""
    lab.say(
        f"{ORDINARY_PER_S} events a second from {TO_THE_SENDER.ms:.0f} ms and up to {TO_THE_SENDER.jitter_ms:.0f} ms more away"
    )
    with slow_network(lab.host, lab.port, TO_THE_SENDER) as port:
        found = lab.load("far", seconds, per_s=ORDINARY_PER_S, port=port)
    return _network_figures("far_sender", found)


def _far_from_the_database(lab: Lab, seconds: int) -> dict[str, float]:
    """Measure with a slow network between receiver and PostgreSQL."""
    lab.say(f"PostgreSQL {TO_THE_DATABASE.ms:.0f} ms and up to {TO_THE_DATABASE.jitter_ms:.0f} ms more away")
    url = make_url(lab.databases.cmms)
    with slow_network(url.host or "", url.port or 5432, TO_THE_DATABASE) as port:
        address = url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
        with lab.sidecar(address):
            lab.load("warm-up", 1)
            full = lab.load("far-database-full", seconds)
            ordinary = lab.load("far-database", seconds, per_s=ORDINARY_PER_S)
    figures = {"far_database_requests_per_s": round(full["answered"] / full["seconds"], 1)}
    return figures | _network_figures("far_database", ordinary)


def _network_figures(name: str, found: dict[str, Any]) -> dict[str, float]:
    return {
        f"{name}_{which}_ms": round(quantile(found["latencies_ms"], share), 3) for which, share in (("p50", 0.5), ("p99", 0.99))
    }


def _drain(lab: Lab, count: int) -> dict[str, float | int]:
    """Put events into an empty inbox and measure how fast one drain applies all of them."""
    lab.say(f"{count} events wait, then one drain")
    with lab.engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {hooks.fullname} CASCADE"))
        for start in range(0, count, _GROUP):
            accept(connection, [_waiting(number) for number in range(start, min(start + _GROUP, count))])
    waiting = lab.stored()
    started = time.monotonic()
    report = drain(lab.databases.cmms, idle_s=0, max_s=3600)
    seconds = time.monotonic() - started
    assert report.applied == waiting, report.counts()
    return {"drained": report.applied, "drain_per_s": round(report.applied / seconds, 1)}


def _waiting(number: int) -> ReceivedHook:
    order = f"waiting-{number // 4}"
    event_type = "work_order_updated" if number % 4 else "work_order_created"
    payload = {"work_order_number": order, "title": f"Replace filter {number % 4}", "status": "open", "priority": "high"}
    body = orjson.dumps({"event_type": event_type, "payload": payload})
    return ReceivedHook(
        cmms_system_id=SYSTEM,
        event_type=event_type,
        payload=payload,
        occurred_at=datetime(2026, 3, 1, 8, 30, number % 4, tzinfo=UTC),
        entity_key=f"work_order:{order}",
        dedup_key=f"id:waiting-{number}",
        raw_body=body,
        body_sha256=sha256(body).digest(),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values stay within (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
