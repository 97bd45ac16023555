"""Rate limits: token buckets in memory, as many as there are keys in use, up to a bound.

What belongs here: counting and the wait that is told. What does not: which limits there are (`domain.webhook_source`), what a
refusal looks like (`problems`). Each process of the receiver counts for itself.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable

from cmms_pipelines.domain.webhook_source import RateLimit

MAX_KEYS = 20_000


class Buckets:
    """One bucket for each key; those not used for longest are forgotten, which fills them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def take(self, key: Hashable, limit: RateLimit) -> float:
        """Take one from the bucket of `key`; return 0, or how many seconds until there is one again."""
        now = self._clock()
        tokens, since = self._buckets.pop(key, (float(limit.burst), now))
        tokens = min(float(limit.burst), tokens + (now - since) * limit.per_s)
        wait_s = 0.0 if tokens >= 1 else (1 - tokens) / limit.per_s
        self._buckets[key] = (tokens - 1 if wait_s == 0 else tokens, now)
        while len(self._buckets) > MAX_KEYS:
            self._buckets.popitem(last=False)
        return wait_s
