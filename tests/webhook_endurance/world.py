"""A receiver, a drain and a PostgreSQL that may be killed at any moment, senders that never give up, and what must hold then.

What belongs here: the processes, their restart, the load and the books. What does not: when what is killed (the tests).
"""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import httpx
import orjson
import psycopg

from cmms_webhook.app import EVENTS
from tests.webhook.conftest import signed

ORDERS = 30
SENDERS = 3
PAUSE_S = 0.01
_PROJECT = Path(__file__).resolve().parents[2]
_BOOKS = """
    CREATE TABLE cmms.settlements (hook_id uuid, status text);
    CREATE FUNCTION cmms.note_settlement() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO cmms.settlements VALUES (NEW.id, NEW.processing_status);
        RETURN NULL;
    END $$;
    CREATE TRIGGER note_settlement AFTER UPDATE OF processing_status ON cmms.maintenance_event_hooks
    FOR EACH ROW WHEN (OLD.processing_status <> NEW.processing_status AND NEW.processing_status <> 'pending')
    EXECUTE FUNCTION cmms.note_settlement();
"""


def add_books(url: str) -> None:
    """Have the database note each settlement in the transaction that makes it."""
    with psycopg.connect(url) as connection:
        connection.execute(_BOOKS)


@dataclass(frozen=True)
class Answer:
    """An event that was answered 202: its id, the note that it brings, and when that was."""

    id: str
    order: str
    note: str
    sent_at: float
    answered_at: float


@dataclass
class Kept:
    """A process that is started again whenever it has ended, as a service manager does."""

    command: Sequence[str]
    environment: dict[str, str]
    log: Path
    pause_s: float = 0.0
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _next_start: float = 0.0

    def look(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            self.process, self._next_start = None, time.monotonic() + self.pause_s
        if self.process is None and time.monotonic() >= self._next_start:
            with self.log.open("ab") as output:
                self.process = subprocess.Popen(
                    self.command, env=self.environment, cwd=_PROJECT, stdout=output, stderr=subprocess.STDOUT
                )
            self.starts += 1

    def kill(self) -> None:
        """Kill the process that runs; one that has not started yet is waited for."""
        wait_until(lambda: self.process is not None and self.process.poll() is None, "the process runs")
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)


@dataclass
class World:
    """What runs, and what was answered."""

    url: str
    address: str
    receiver: Kept
    drain: Kept
    answers: list[Answer] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    is_over: threading.Event = field(default_factory=threading.Event)

    def send_until_over(self, name: int) -> None:
        """Send new events one after the other; each is sent again until it is answered 202, as a sender that retries does."""
        with httpx.Client(timeout=15, trust_env=False) as client:
            number = 0
            while not self.is_over.wait(PAUSE_S):
                order, note = f"{name}-{number % ORDERS}", uuid.uuid4().hex
                payload = {"work_order_number": order, "title": f"step {number}", "notes": [note]}
                at = f"2026-03-01T{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}Z"
                event = {"event_type": "work_order_updated", "event_id": note, "timestamp": at, "payload": payload}
                self._send_until_taken(client, orjson.dumps(event), order, note)
                number += 1

    def _send_until_taken(self, client: httpx.Client, body: bytes, order: str, note: str) -> None:
        while not self.is_over.is_set():
            sent_at = time.time()
            try:
                answer = client.post(self.address + EVENTS, content=body, headers=signed(body))
            except httpx.TransportError as error:
                self.others[type(error).__name__] += 1
                time.sleep(0.02)
                continue
            if answer.status_code == 202:
                self.answers.append(Answer(answer.json()["id"], order, note, sent_at, time.time()))
                return
            self.others[str(answer.status_code)] += 1
            time.sleep(0.02)

    def answered_since(self, since: float) -> list[float]:
        """Return when events that were sent after `since` were answered 202."""
        return [one.answered_at for one in list(self.answers) if one.sent_at > since]

    def applied_since(self, since: float) -> list[float]:
        """Return when events were settled after `since`; nothing while the database is away."""
        statement = (
            "SELECT extract(epoch FROM processed_at) FROM cmms.maintenance_event_hooks WHERE processed_at > to_timestamp(%s)"
        )
        try:
            with psycopg.connect(self.url, connect_timeout=2) as connection:
                return [float(row[0]) for row in connection.execute(statement, (since,))]
        except psycopg.OperationalError:
            return []

    def assert_nothing_lost_and_nothing_twice(self) -> None:
        """Hold the database against what was answered, once all that waits is settled."""

        def pending() -> int:
            with psycopg.connect(self.url) as connection:
                row = connection.execute("SELECT count(*) FROM cmms.maintenance_event_hooks WHERE processing_status = 'pending'")
                return int((row.fetchone() or (0,))[0])

        wait_until(lambda: pending() == 0, "all accepted events are settled", 120)
        with psycopg.connect(self.url) as connection:
            states = {
                str(row[0]): row[1]
                for row in connection.execute("SELECT id, processing_status FROM cmms.maintenance_event_hooks")
            }
            settled = Counter(str(row[0]) for row in connection.execute("SELECT hook_id FROM cmms.settlements"))
            notes = Counter(
                (row[0], row[1])
                for row in connection.execute("SELECT work_order_number, jsonb_array_elements_text(notes) FROM cmms.work_orders")
            )
        assert {answer.id for answer in self.answers} <= states.keys(), "an event that was answered 202 is not in the table"
        assert set(states.values()) <= {"processed", "ignored"}, Counter(states.values())
        assert set(settled.values()) == {1}, "an event was settled twice"
        assert settled.keys() == states.keys()
        assert set(notes.values()) == {1}, "an effect came twice"
        missing = {(answer.order, answer.note) for answer in self.answers} - notes.keys()
        assert not missing, f"{len(missing)} events were settled without their effect"


@contextmanager
def running(url: str, port: int, home: Path) -> Iterator[World]:
    """Run a receiver and a drain under load; both are started again whenever they end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CMMS_", "DAGSTER_"))}
    environment |= {"CMMS_HOME": str(home), "CMMS_DATABASE_URL": url, "CMMS_WEBHOOK_PORT": str(port)}
    receiver = Kept((sys.executable, "-m", "cmms_webhook"), environment, home / "receiver.log")
    drain = Kept((sys.executable, "-m", "tests.webhook_endurance.draining", url), environment, home / "drain.log", pause_s=0.3)
    world = World(url, f"http://127.0.0.1:{port}", receiver, drain)
    is_over = threading.Event()

    def keep() -> None:
        while not is_over.wait(0.01):
            receiver.look()
            drain.look()

    threads = [threading.Thread(target=keep)]
    threads += [threading.Thread(target=world.send_until_over, args=(number,)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: world.applied_since(0), "the first event is applied")
        yield world
    finally:
        world.is_over.set()
        for thread in threads[1:]:
            thread.join(30)
        is_over.set()
        threads[0].join(30)
        receiver.stop()
        drain.stop()


@dataclass
class Interruptions:
    """How long nothing was answered 202, and nothing applied, around each kill: seconds by what was killed."""

    of_202: dict[str, list[float]] = field(default_factory=dict)
    of_applied: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, world: World, kind: str, kill: Callable[[], object]) -> None:
        """Kill, wait until all is at work again, and note the longest silence since."""
        killed_at = time.time()
        kill()
        over_at = time.time()
        wait_until(lambda: world.answered_since(over_at), f"a 202 after a kill of the {kind}")
        wait_until(lambda: world.applied_since(over_at), f"an effect after a kill of the {kind}")
        self.of_202.setdefault(kind, []).append(_longest_silence(killed_at, world.answered_since(killed_at)))
        self.of_applied.setdefault(kind, []).append(_longest_silence(killed_at, world.applied_since(killed_at)))

    def lines(self) -> list[str]:
        """Return the figures, medians and longest, one line for each kind."""
        lines = []
        for kind, of_202 in sorted(self.of_202.items()):
            spans = {"202": of_202, "applied event": self.of_applied[kind]}
            told = [f"to the next {what} {statistics.median(s):.2f} s, longest {max(s):.2f} s" for what, s in spans.items()]
            lines.append(f"{kind}, {len(of_202)} kills: {'; '.join(told)}")
        return lines


def _longest_silence(since: float, times: Sequence[float]) -> float:
    moments = [since, *sorted(times)]
    return max(later - earlier for earlier, later in pairwise(moments))


def wait_until(is_so: Callable[[], object], what: str, timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {timeout_s:.0f} s"
        time.sleep(0.02)
