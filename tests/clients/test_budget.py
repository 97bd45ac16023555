"""The rate budget, on a clock of its own."""

import threading
from itertools import pairwise

import pytest

from cmms_pipelines.clients.budget import RateBudget


class FakeTime:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


def starts(budget: RateBudget, time: FakeTime, count: int) -> list[float]:
    moments = []
    for _ in range(count):
        with budget.slot():
            moments.append(time.now_s)
    return moments


def test_starts_are_spread_evenly() -> None:
    time = FakeTime()
    moments = starts(RateBudget(4, 10, time.clock, time.sleep), time, 25)
    assert [later - sooner for sooner, later in pairwise(moments)] == pytest.approx([0.1] * 24)


def test_without_a_rate_nobody_waits() -> None:
    time = FakeTime()
    assert starts(RateBudget(4, None, time.clock, time.sleep), time, 5) == [1_000.0] * 5


def test_a_quiet_time_is_not_saved_up_for_a_burst() -> None:
    time = FakeTime()
    budget = RateBudget(4, 2, time.clock, time.sleep)
    starts(budget, time, 1)
    time.now_s += 60
    moments = starts(budget, time, 3)
    assert moments == pytest.approx([1_060.0, 1_060.5, 1_061.0])


def test_a_pause_holds_for_everybody_and_the_longest_one_counts() -> None:
    time = FakeTime()
    budget = RateBudget(4, None, time.clock, time.sleep)
    budget.pause(30)
    budget.pause(5)
    assert starts(budget, time, 2) == [1_030.0, 1_030.0]


def test_a_pause_also_holds_for_those_who_wait_already() -> None:
    time = FakeTime()

    def sleep(seconds: float) -> None:
        if time.now_s == 1_000:
            budget.pause(10)  # another thread hears of it meanwhile
        time.sleep(seconds)

    budget = RateBudget(4, 1, time.clock, sleep)
    starts(budget, time, 1)
    assert starts(budget, time, 1) == [1_010.0]


def test_no_more_than_the_agreed_number_are_in_flight() -> None:
    budget = RateBudget(2, None)
    held = threading.Barrier(3, timeout=5)
    let_go = threading.Event()
    entered: list[int] = []

    def hold() -> None:
        with budget.slot():
            held.wait()
            let_go.wait(5)

    def late() -> None:
        with budget.slot():
            entered.append(1)

    holders = [threading.Thread(target=hold) for _ in range(2)]
    for holder in holders:
        holder.start()
    held.wait()
    third = threading.Thread(target=late)
    third.start()
    third.join(0.05)
    assert entered == []
    let_go.set()
    for thread in (*holders, third):
        thread.join(5)
    assert entered == [1]


@pytest.mark.parametrize(("max_in_flight", "requests_per_s"), [(0, None), (1, 0), (1, -1)])
def test_a_budget_without_room_is_refused(max_in_flight: int, requests_per_s: float | None) -> None:
    with pytest.raises(ValueError, match="no request fits"):
        RateBudget(max_in_flight, requests_per_s)
