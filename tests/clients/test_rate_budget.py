"""How hard a source is asked, as the server itself counts it, in every dialect."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest

from cmms_pipelines.clients.connect import DIALECTS, connect
from cmms_pipelines.clients.transport import Retries
from tests.emulator_server import running_emulator

DAY = dt.date(2013, 10, 28)
CODES = ["B6JF", "B6LG", "B6EW", "DLLG", "UAEW", "EVEW", "WNEW", "AALG"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_rate_and_the_number_in_flight_are_kept_as_the_server_counts_them(dialect: str) -> None:
    with running_emulator(latency_ms=60, dialect=dialect) as emulator:
        with (
            connect(emulator.url, emulator.token, dialect=dialect, max_in_flight=3, requests_per_s=20) as api,
            ThreadPoolExecutor(8) as threads,
        ):
            days = list(threads.map(lambda code: list(api.running_times([code], DAY, DAY)), CODES * 3))
        stats = emulator.stats()
    assert all(days)
    assert stats["requests"] >= len(CODES) * 3
    assert 15 <= stats["peak_per_s"] <= 22  # 20 a second, and a start may arrive a little late
    assert stats["max_in_flight"] <= 3


@pytest.mark.parametrize(
    ("dialect", "says_date"),
    [("ims", False), ("ims", True), ("odata_v2", True), ("odata_v4", False)],
    ids=str,
)
def test_what_a_429_asks_for_is_kept_by_all_threads(dialect: str, says_date: bool) -> None:
    faults = f"429=0.25,seed=24,retry_after_s=1,retry_after_date={int(says_date)}"
    in_flight = 3
    with running_emulator(faults=faults, dialect=dialect) as emulator:
        with (
            connect(emulator.url, emulator.token, dialect=dialect, max_in_flight=in_flight, retries=Retries(attempts=30)) as api,
            ThreadPoolExecutor(6) as threads,
        ):
            pages = list(threads.map(lambda code: list(api.running_times([code], DAY, DAY)), CODES))
        stats = emulator.stats()
    assert all(pages)
    throttled = stats["faults"]["429"]
    assert throttled >= 2
    # what the other threads had sent before the answer reached them
    assert stats["too_early"] <= throttled * (in_flight - 1)
    assert stats["requests"] > throttled * in_flight
