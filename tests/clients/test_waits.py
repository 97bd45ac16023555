"""The waits between the attempts of a request, as a real server sees them. A busy machine makes them longer, never shorter."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.transport import Retries, Transport
from cmms_pipelines.domain.errors import TransientError
from tests.clients.scripted_source import reply, scripted_source


def waits_s(retries: Retries, clients: int = 1) -> list[list[float]]:
    """Seconds between the attempts of each of some clients that begin together, of a source that never recovers."""

    def fail(url: str) -> None:
        with Transport(url, Credentials("token", "raw"), retries=retries) as client, pytest.raises(TransientError):
            client.get("plants")

    with scripted_source(reply("{}", 503)) as source, ThreadPoolExecutor(clients) as threads:
        list(threads.map(fail, [source.url] * clients))
    arrived = defaultdict(list)
    for seen in source.seen:
        arrived[seen.client_port].append(seen.at_s)  # the connection of a client is kept
    assert [len(times) for times in arrived.values()] == [retries.attempts] * clients
    return [[later - earlier for earlier, later in pairwise(times)] for times in arrived.values()]


def test_each_wait_is_twice_the_one_before() -> None:
    expected = [0.04, 0.08, 0.16, 0.32, 0.64]
    (waits,) = waits_s(Retries(attempts=6, wait_initial_s=expected[0], wait_max_s=60, wait_jitter_s=0))
    assert all(wait >= least * 0.95 for wait, least in zip(waits, expected, strict=True)), waits
    assert min(waits[:3]) < expected[-1] / 2  # the first ones were not as long as the last


def test_no_wait_is_longer_than_the_longest() -> None:
    (waits,) = waits_s(Retries(attempts=3, wait_initial_s=60, wait_max_s=0.01, wait_jitter_s=60))
    assert max(waits) < 3


def test_clients_that_failed_together_come_back_at_different_times() -> None:
    jitter_s = 0.4
    waits = [wait for (wait,) in waits_s(Retries(attempts=2, wait_initial_s=0.01, wait_max_s=60, wait_jitter_s=jitter_s), 8)]
    assert max(waits) - min(waits) > jitter_s / 8  # by chance it is less once in 200,000 times
