"""Work done ahead in threads, a bounded piece of it: while PostgreSQL writes, the next records are fetched and read.

What belongs here: handing over between threads, and ending them. What does not: what the work is.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Generic, NoReturn, Self, TypeVar

from cmms_pipelines.log_context import carried

T = TypeVar("T")
K = TypeVar("K")


class Ahead(Generic[T]):
    """The items of an iterable, made by a thread that has at most `depth` of them waiting; iterate over it once.

    The next item is begun when there is room for it, so that no more exist at a time, and nothing is kept of one that was
    taken. What the thread raises, the consumer gets in its place. Closed, it begins no further item.
    """

    def __init__(self, items: Iterable[T], depth: int = 1, *, is_first_alone: bool = False) -> None:
        """With `is_first_alone` only the first item is made ahead, each other one when it is asked for."""
        self._made: SimpleQueue[Callable[[], T]] = SimpleQueue()
        self._room = threading.Semaphore(1 if is_first_alone else depth)
        self._is_first_alone = is_first_alone
        self._owes_room = False
        self._is_over = False
        self._is_closed = False
        self._thread = threading.Thread(target=carried(self._run), args=(items,), name="ahead", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._is_over:
            raise StopIteration
        if self._owes_room:
            self._room.release()
        make = self._made.get()
        self._owes_room = self._is_first_alone
        if not self._is_first_alone:
            self._room.release()
        try:
            return make()
        except _AllMadeError:
            self._is_over = True
            raise StopIteration from None
        except BaseException:
            self._is_over = True
            raise

    def close(self) -> None:
        """End the thread and wait for it."""
        self._is_closed = True
        self._room.release()
        self._thread.join()

    def _run(self, items: Iterable[T]) -> None:
        iterator = iter(items)
        while True:
            self._room.acquire()
            if self._is_closed:
                return
            try:
                self._made.put(partial(_same, next(iterator)))
            except StopIteration:
                self._made.put(partial(_raise, _AllMadeError()))
                return
            except BaseException as error:  # noqa: BLE001 - raised again where the items are consumed
                self._made.put(partial(_raise, error))
                return


class _AllMadeError(Exception):
    """There are no more items."""


def _same(item: T) -> T:
    return item


def _raise(error: BaseException) -> NoReturn:
    raise error


class InTurn(Generic[K, T]):
    """Results for some keys, which will be asked for about in their order: the next ones are made ahead.

    A result belongs to the one who took it; those that nobody took are closed at the end of the `with` block.
    """

    def __init__(self, keys: Sequence[K], make: Callable[[K], T], close: Callable[[T], None], depth: int) -> None:
        """At most `depth` results are made or waiting beside those that have been taken."""
        self._keys = list(keys)
        self._places = {key: place for place, key in enumerate(self._keys)}
        self._make = make
        self._close = close
        self._depth = depth
        self._begun: dict[K, Future[T]] = {}
        self._taken: set[K] = set()
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(max_workers=depth + 1, thread_name_prefix="fetch-ahead")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for future in self._begun.values():
                future.add_done_callback(self._close_result)

    def take(self, key: K) -> T:
        """Return the result for `key`, raising what making it raised; begin those that come next."""
        place = self._places[key]
        with self._lock:
            for one in self._keys[place : place + 1 + self._depth]:
                if one not in self._begun and (one == key or one not in self._taken):
                    self._begun[one] = self._executor.submit(carried(self._make), one)
            self._taken.add(key)
            wanted = self._begun.pop(key)
        return wanted.result()

    def _close_result(self, future: "Future[T]") -> None:
        if not future.cancelled() and future.exception() is None:
            self._close(future.result())
