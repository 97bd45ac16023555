"""kill -9 of a drain between the steps of a thin event: it is fetched again or not at all, and takes effect once."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.sources.conftest import World
from tests.sources.test_thin_events import serve_order
from tests.storage.inbox_world import query, work_order
from tests.webhook.conftest import wait_until
from tests.webhook_endurance.world import add_books

_PROJECT = Path(__file__).parents[2]


@contextmanager
def draining(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """Run a drain as a process of its own; it is killed at the end of the block, whatever it is doing."""
    command = (sys.executable, "-m", "tests.sources.draining", world.url, str(world.settings.home))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CMMS_")}
    process = subprocess.Popen(command, cwd=_PROJECT, env=environment)
    try:
        yield process
        assert process.poll() is None, "the drain ended by itself"
    finally:
        process.kill()
        process.wait(30)


def is_so(world: World, condition: str) -> Callable[[], bool]:
    """A question about the inbox: is there an event of which this is true?"""
    statement = f"SELECT count(*) > 0 FROM cmms.maintenance_event_hooks WHERE {condition}"  # noqa: S608 - written in this file
    return lambda: query(world.url, statement) == [(True,)]


def end_leases(world: World) -> None:
    """Let the time pass that a dead drain's fetches have."""
    query(world.url, "UPDATE cmms.maintenance_event_hooks SET next_attempt_at = now() WHERE processing_status = 'pending'")


def assert_each_took_effect_once(world: World, numbers: list[str]) -> None:
    states = "SELECT processing_status, count(*) FROM cmms.maintenance_event_hooks GROUP BY 1"
    assert query(world.url, states) == [("processed", len(numbers))]
    settled = "SELECT count(*), count(DISTINCT hook_id) FROM cmms.settlements"
    assert query(world.url, settled) == [(len(numbers), len(numbers))]
    orders = query(world.url, "SELECT work_order_number, title, status FROM cmms.work_orders ORDER BY work_order_number")
    assert orders == [(number, "250 h inspection", "in_progress") for number in sorted(numbers)]


def test_a_drain_killed_while_it_fetches_and_again_before_it_applies_loses_nothing_and_asks_for_nothing_twice(
    world: World,
) -> None:
    numbers = ["1", "2", "3"]
    add_books(world.url)
    world.configure(api={"max_in_flight": len(numbers)}, retries={"max_retries": 50, "first_wait_s": 0.2, "longest_wait_s": 1})
    for number in numbers:
        serve_order(world, number)
        work_order(world.url, number)
    world.server.wait_s = 10.0
    with draining(world):
        wait_until(lambda: len(world.server.asked) == len(numbers), 120)
    fetching = "SELECT processing_status, outcome ->> 'rule', fetched_at FROM cmms.maintenance_event_hooks"
    assert query(world.url, fetching) == [("pending", "fetching", None)] * len(numbers)
    world.server.wait_s = 0.0
    end_leases(world)
    with psycopg.connect(world.url) as other:  # in the way of the effect, and of nothing before it
        other.execute("LOCK TABLE cmms.work_orders IN ACCESS EXCLUSIVE MODE")
        with draining(world):
            wait_until(lambda: not is_so(world, "fetched_at IS NULL")(), 120)
    assert query(world.url, "SELECT processing_status FROM cmms.maintenance_event_hooks") == [("pending",)] * len(numbers)
    end_leases(world)
    with draining(world):
        wait_until(lambda: not is_so(world, "processing_status = 'pending'")(), 120)
    assert_each_took_effect_once(world, numbers)
    assert len(world.server.asked) == 2 * len(numbers), "what was stored was asked for again"


@pytest.mark.soak
def test_thin_events_take_effect_once_however_often_their_drain_is_killed(world: World) -> None:
    chance = random.Random(5)  # noqa: S311 - moments, not secrets
    numbers = [str(number) for number in range(200)]
    add_books(world.url)
    world.configure(api={"max_in_flight": 4})
    world.server.wait_s = 0.05
    for number in numbers:
        serve_order(world, number)
        work_order(world.url, number)
    for _ in range(30):
        asked = len(world.server.asked)
        with draining(world):
            pending = is_so(world, "processing_status = 'pending'")
            wait_until(lambda: len(world.server.asked) > asked or not pending(), 60)  # noqa: B023 - called within the round
            time.sleep(chance.uniform(0, 0.3))
        end_leases(world)
    with draining(world):
        wait_until(lambda: not is_so(world, "processing_status = 'pending'")(), 120)
    assert_each_took_effect_once(world, numbers)
    assert len(world.server.asked) > len(numbers), "no fetch was cut off: the test has shown nothing"
