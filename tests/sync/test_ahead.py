"""Work done ahead in threads: bounded, in order, its errors where the work is wanted, and no thread left behind."""

import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest

from cmms_pipelines.sync.ahead import Ahead, InTurn


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "fetch-ahead"))}


@pytest.mark.parametrize("depth", [1, 3])
def test_items_come_in_order_and_no_more_are_made_than_there_is_room_for(depth: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(8):
            made.append(number)
            yield number

    with Ahead(items(), depth) as ahead:
        wait_for(lambda: len(made) == depth)
        time.sleep(0.02)
        assert len(made) == depth
        for taken, number in enumerate(ahead):
            assert number == taken
            assert len(made) <= taken + 1 + depth
    assert made == list(range(8))
    assert not threads()


def test_where_only_the_first_is_made_ahead_each_other_item_is_begun_when_it_is_asked_for_and_nothing_is_kept_of_it() -> None:
    made: list[weakref.ref[set[int]]] = []

    def item(number: int) -> set[int]:
        one = {number}
        made.append(weakref.ref(one))
        return one

    with Ahead(map(item, range(4)), is_first_alone=True) as ahead:
        wait_for(lambda: len(made) == 1)
        for number in range(4):
            one = next(ahead)
            time.sleep(0.02)
            assert (one, len(made)) == ({number}, number + 1)
            del one
            assert made[number]() is None
        assert list(ahead) == list(ahead) == []
    assert not threads()


def test_an_error_is_raised_where_the_item_is_wanted_after_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("no second one")

    got = []
    with pytest.raises(KeyError, match="no second one"), Ahead(items()) as ahead:
        got += [1 for _ in ahead]
    assert not threads()


def test_whoever_stops_early_leaves_no_thread_behind() -> None:
    with Ahead(iter(range(1_000_000))) as ahead:
        assert next(iter(ahead)) == 0
    assert not threads()


class Slow:
    """Makes results on demand and remembers what became of them."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.closed: list[int] = []
        self.may_end = threading.Event()

    def make(self, key: int) -> int:
        self.begun.append(key)
        self.may_end.wait(5)
        if key == 4:
            raise ValueError("four")
        return key * 10

    def close(self, result: int) -> None:
        self.closed.append(result)


def test_the_next_results_are_made_while_one_is_used_and_those_that_nobody_took_are_closed() -> None:
    slow = Slow()
    slow.may_end.set()
    with InTurn([1, 2, 3, 4, 5], slow.make, slow.close, depth=1) as in_turn:
        assert in_turn.take(1) == 10
        wait_for(lambda: slow.begun == [1, 2])
        assert in_turn.take(2) == 20
        assert in_turn.take(3) == 30
        wait_for(lambda: 4 in slow.begun)
        with pytest.raises(ValueError, match="four"):
            in_turn.take(4)
        wait_for(lambda: 5 in slow.begun)
    wait_for(lambda: slow.closed == [50])
    assert sorted(slow.begun) == [1, 2, 3, 4, 5]


def test_what_is_being_made_at_the_end_is_closed_once_it_is_there() -> None:
    slow = Slow()
    with InTurn([1, 2], slow.make, slow.close, depth=1) as in_turn:
        taker = threading.Thread(target=lambda: in_turn.take(1))
        taker.start()
        wait_for(lambda: len(slow.begun) == 2)
    assert slow.closed == []
    slow.may_end.set()
    wait_for(lambda: slow.closed == [20])
    taker.join(5)


def test_results_may_be_asked_for_in_another_order_and_again_after_a_failure() -> None:
    slow = Slow()
    slow.may_end.set()
    with InTurn([1, 2, 3, 4], slow.make, slow.close, depth=2) as in_turn:
        assert in_turn.take(3) == 30
        assert in_turn.take(1) == 10
        for _ in range(2):
            with pytest.raises(ValueError, match="four"):
                in_turn.take(4)
    assert slow.begun.count(3) == 1
    assert slow.begun.count(4) == 2
