"""Load from a process of its own: signed events over raw sockets, made before the clock starts.

    python bench/receiving/load.py < PLAN    (JSON: see `Plan`; prints one line of JSON)

Two ways. *Closed*: each of `connections` sends its next event when the one before is answered; what comes out is throughput, and
latency at that many connections. *Open*: events leave at their times whether or not the ones before are answered, and an
event's latency runs from the time when it was due: waiting for a free connection counts, so nothing is hidden.

The generator must cost far less than the server: it builds and signs every request beforehand, and reads of an answer only the
status and the length. What it reaches against a server that does nothing is measured too (`receiving.bare`).
"""

import asyncio
import datetime as dt
import gc
import json
import resource
import sys
import time
import uuid
from collections import Counter, deque
from dataclasses import dataclass
from typing import cast

import orjson
import uvloop

from cmms_pipelines.domain.signatures import SchemeName, key_of, sign

HEAD_END = b"\r\n\r\n"
LENGTH = b"content-length: "


@dataclass(frozen=True)
class Plan:
    """What to send: `per_s` and `due_s` (seconds from the start) make an open loop, without them it is a closed one.

    Events are the `bodies` that are given, or orders made here; the closed loop ends after `seconds`.
    """

    host: str
    port: int
    path: str
    secret: str
    label: str
    seconds: float
    connections: int = 100
    per_s: float = 0
    due_s: list[float] | None = None
    bodies: list[str] | None = None
    prepared: int = 50_000

    def times(self) -> list[float]:
        """Return when events are due, in seconds from the start; nothing for a closed loop."""
        if self.due_s is not None:
            return self.due_s
        return [number / self.per_s for number in range(round(self.per_s * self.seconds))] if self.per_s else []


def requests(plan: Plan) -> list[bytes]:
    """Return the bytes of all requests, each event another one."""
    now = dt.datetime.now(dt.UTC)
    key = key_of(SchemeName.HMAC_HEX, plan.secret)
    bodies = (
        [body.encode() for body in plan.bodies] if plan.bodies else orders(plan.label, len(plan.times()) or plan.prepared, now)
    )
    result = []
    for body in bodies:
        headers = {"host": plan.host, "content-type": "application/json", "user-agent": "bench/1"}
        headers |= sign(SchemeName.HMAC_HEX, key, body, now) | {"content-length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        result.append(f"POST {plan.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
    return result


def orders(label: str, count: int, now: dt.datetime) -> list[bytes]:
    """Return events that each create a work order of their own."""
    result = []
    for number in range(count):
        payload = {
            "work_order_number": f"{label}-{number}",
            "title": "Replace filter",
            "description": "The pressure difference of the return filter is above 2.5 bar.",
            "status": "open",
            "priority": "high",
            "assignee": "hangar-2",
        }
        event = {
            "event_id": str(uuid.uuid4()),
            "event_type": "work_order_created",
            "timestamp": now.isoformat(),
            "payload": payload,
        }
        result.append(orjson.dumps(event))
    return result


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, load: "Load") -> None:
        self.load = load
        self.received = b""
        self.since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes, since: float) -> None:
        self.since = since
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.received += data
        end = self.received.find(HEAD_END)
        if end < 0:
            return
        start = self.received.lower().find(LENGTH) + len(LENGTH)
        length = int(self.received[start : self.received.find(b"\r\n", start)])
        if len(self.received) < end + len(HEAD_END) + length:
            return
        status, self.received = self.received[9:12], b""
        since, self.since = self.since, None
        assert since is not None, "an answer without a request"
        self.load.answered(self, status, since)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.load.closed(self)


class Load:
    """The requests, the connections, and what came back."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.times = plan, plan.times()
        self.waiting = deque(requests(plan))
        self.free: list[Connection] = []
        self.due: deque[float] = deque()
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.lost, self.under_way, self.is_over, self.ends_at = 0, 0, False, 0.0
        self.reopening: set[asyncio.Task[None]] = set()

    async def run(self) -> dict[str, object]:
        for _ in range(self.plan.connections):
            await self._connect()
        gc.disable()
        used_before, started = _cpu_s(), time.perf_counter()
        self.ends_at = started + self.plan.seconds
        await (self._open(started) if self.times else self._closed())
        took = time.perf_counter() - started
        self.is_over = True
        return {
            "answered": len(self.latencies),
            "seconds": took,
            "statuses": self.statuses,
            "lost": self.lost,
            "unsent": len(self.due),
            "cpu_share": (_cpu_s() - used_before) / took,
            "latencies_ms": [round(latency * 1000, 3) for latency in sorted(self.latencies)],
        }

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self), self.plan.host, self.plan.port)
        self.free.append(connection)
        self._send_due()

    def closed(self, connection: Connection) -> None:
        """Count a connection that closed under a request as lost; in the place of one that was idle too long open another."""
        if self.is_over:
            return
        if connection.since is not None:
            self.lost += 1
            return
        self.free.remove(connection)
        task = asyncio.get_running_loop().create_task(self._connect())
        self.reopening.add(task)
        task.add_done_callback(self.reopening.discard)

    def answered(self, connection: Connection, status: bytes, since: float) -> None:
        now = time.perf_counter()
        self.latencies.append(now - since)
        self.statuses[status.decode()] += 1
        self.under_way -= 1
        if self.times:
            self.free.append(connection)
            self._send_due()
        elif now < self.ends_at and self.waiting:
            self._send(connection, now)

    def _send(self, connection: Connection, since: float) -> None:
        self.under_way += 1
        connection.send(self.waiting.popleft(), since)

    def _send_due(self) -> None:
        while self.due and self.free:
            self._send(self.free.pop(), self.due.popleft())

    async def _closed(self) -> None:
        for connection in self.free:
            self._send(connection, time.perf_counter())
        await self._settle()

    async def _open(self, started: float) -> None:
        for offset in self.times:
            due = started + offset
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            self.due.append(due)
            self._send_due()
        await self._settle()

    async def _settle(self) -> None:
        while (self.under_way or self.due) and time.perf_counter() < self.ends_at + 30 and not self.lost:
            await asyncio.sleep(0.005)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    print(json.dumps(uvloop.run(Load(Plan(**json.load(sys.stdin))).run())))
