"""How hard a source may be asked: requests in flight, requests per second, and pauses that the source itself demands."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class RateBudget:
    """Shared by all threads that ask one source. Times are seconds of `clock`, which must not go backwards."""

    def __init__(
        self,
        max_in_flight: int,
        requests_per_s: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if max_in_flight < 1 or (requests_per_s is not None and requests_per_s <= 0):
            raise ValueError(f"no request fits into a budget of {max_in_flight} in flight and {requests_per_s} per second")
        self._in_flight = threading.BoundedSemaphore(max_in_flight)
        self._interval_s = 1 / requests_per_s if requests_per_s else 0.0
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next_start = 0.0
        self._paused_until = 0.0

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a place for one request; waits until there is one."""
        with self._in_flight:
            self._wait_for_start()
            yield

    def pause(self, seconds: float) -> None:
        """Let no request of any thread start for `seconds`; those in flight go on."""
        with self._lock:
            self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _wait_for_start(self) -> None:
        while True:
            with self._lock:
                now = self._clock()
                start = max(self._next_start, self._paused_until)
                if start <= now:
                    self._next_start = now + self._interval_s
                    return
            self._sleep(start - now)
