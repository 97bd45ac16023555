"""The client against the real emulator: everything arrives once, whatever goes wrong on the way."""

import datetime as dt
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cmms_pipelines.clients.api import ConnectedApi, ExternalApi
from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.ims import ImsApi, batches
from cmms_pipelines.clients.transport import Retries, Timeouts, Transport
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.emulator.flights import flight_hours
from tests.clients.scripted_source import reply, scripted_source
from tests.emulator_server import TOKEN, Emulator, running_emulator

DAY = dt.date(2013, 10, 28)
QUICK = Retries(attempts=12, wait_initial_s=0.001, wait_max_s=0.004, wait_jitter_s=0.001, retry_after_max_s=0.01)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with running_emulator() as emulator:
        yield emulator


def client(emulator: Emulator, calls: list[ApiCall] | None = None, **options: Any) -> ConnectedApi:  # noqa: ANN401
    settings: dict[str, Any] = {"retries": QUICK, "on_call": (calls if calls is not None else []).append}
    return connect(emulator.url, emulator.token, **(settings | options))


def plant_codes(api: ExternalApi) -> list[str]:
    return [plant["SWERK"] for plant in api.plants()]


def test_a_day_of_every_plant(emulator: Emulator) -> None:
    calls: list[ApiCall] = []
    with client(emulator, calls) as api:
        codes = plant_codes(api)
        pages = list(api.running_times(codes, DAY, DAY))
    readings = [reading for page in pages for reading in page]
    assert len(codes) == 35
    assert len(pages) == 7
    assert {reading["ID"] for reading in readings} == {r.number for r in flight_hours().readings(DAY, DAY)}
    assert len(readings) == len({reading["ID"] for reading in readings})
    assert [(call.endpoint, call.status, call.attempts) for call in calls] == [
        ("plants", 200, 1),
        *[("equipments/jam-jalan", 200, 1)] * 7,
    ]
    assert [call.rows for call in calls] == [35, *map(len, pages)]


def test_compression_is_used(emulator: Emulator) -> None:
    calls: list[ApiCall] = []
    before = emulator.stats()["gzipped"]
    with client(emulator, calls) as api:
        (page,) = api.running_times(["DLLG", "UAEW"], DAY, DAY)
    assert emulator.stats()["gzipped"] == before + 1
    assert 0 < calls[0].bytes_received < len(str(list(page))) / 5


def test_the_whole_register_with_and_without_plant(emulator: Emulator) -> None:
    with client(emulator) as api:
        codes = plant_codes(api)
        numbers = [machine["EQUNR"] for page in api.equipment([*codes, ""]) for machine in page]
    assert len(numbers) == len(set(numbers)) == 3_322


def test_work_orders(emulator: Emulator) -> None:
    with client(emulator) as api:
        pages = list(api.work_orders(["DLLG", "UAEW", "B6JF", "WNEW", "AALG", "EVEW"], dt.date(2014, 3, 1), dt.date(2014, 3, 31)))
    assert len(pages) == 2
    assert {order["order_type"] for page in pages for order in page} == {"PM01"}


def test_no_plants_no_requests(emulator: Emulator) -> None:
    before = emulator.stats()["requests"]
    with client(emulator) as api:
        assert list(api.equipment([])) == []
        assert list(api.running_times([], DAY, DAY)) == []
    assert emulator.stats()["requests"] == before


def test_a_source_without_a_list_of_plants_has_none() -> None:
    calls: list[ApiCall] = []
    with scripted_source(reply('{"message":"Not Found"}', 404)) as source, connect(source.url, "t", on_call=calls.append) as api:
        assert api.plants() == []
    assert [(call.status, call.attempts) for call in calls] == [(404, 1)]


def test_other_refusals_of_the_list_of_plants_are_errors() -> None:
    with (
        scripted_source(reply("{}", 403)) as source,
        connect(source.url, "t") as api,
        pytest.raises(PermanentError, match="status 403"),
    ):
        api.plants()


def test_a_wrong_token_is_a_permanent_error_that_says_what_to_check(emulator: Emulator) -> None:
    calls: list[ApiCall] = []
    for token, auth in (("wrong-token", "raw"), (TOKEN, "bearer"), (f"user:{TOKEN}", "basic")):
        with (
            connect(emulator.url, token, auth, on_call=calls.append) as api,
            pytest.raises(PermanentError, match=r"status 401.*Unauthenticated.*CMMS_API_TOKEN and CMMS_API_AUTH") as failure,
        ):
            api.plants()
        assert token not in str(failure.value)
    assert [call.attempts for call in calls] == [1, 1, 1]


def test_what_the_source_finds_invalid_is_not_retried(emulator: Emulator) -> None:
    calls: list[ApiCall] = []
    with client(emulator, calls) as api, pytest.raises(PermanentError, match=r"status 422.*within 366 days"):
        list(api.running_times(["DLLG"], dt.date(2013, 1, 1), dt.date(2015, 1, 1)))
    assert [call.attempts for call in calls] == [1]


@pytest.mark.parametrize("kind", ["429", "500", "502", "timeout", "truncate", "login"])
def test_each_kind_of_fault_is_retried_until_it_succeeds(kind: str) -> None:
    calls: list[ApiCall] = []
    expected = {r.number for r in flight_hours().readings(DAY, DAY)}
    options = {"timeouts": Timeouts(read_s=0.15)} if kind == "timeout" else {}
    with running_emulator(faults=f"{kind}=0.5,seed=3,hang_s=20") as emulator, client(emulator, calls, **options) as api:
        codes = plant_codes(api)
        received = [reading["ID"] for page in api.running_times(codes, DAY, DAY) for reading in page]
        stats = emulator.stats()
    assert len(received) == len(set(received))
    assert set(received) == expected
    assert stats["faults"][kind] == sum(call.attempts - 1 for call in calls) > 0
    assert all(call.error is None and call.status == 200 for call in calls)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("429", "status 429, application/json, .*Too Many Attempts"),
        ("500", "status 500, text/html, '<!doctype html><title>Server Error"),
        ("502", "status 502, text/html, '<html>"),
        ("timeout", "no answer in time"),
        ("truncate", r"status 200, application/json, '\{\"data\":\[\{.*'; cut off or damaged"),
        ("login", "status 200, text/html, '<!doctype html><title>Sign in"),
    ],
)
def test_a_fault_that_stays_is_a_transient_error(kind: str, told: str) -> None:
    retries = Retries(attempts=3, wait_initial_s=0.001, wait_max_s=0.002, wait_jitter_s=0, retry_after_max_s=0.01)
    with (
        running_emulator(faults=f"{kind}=1,hang_s=20") as emulator,
        client(emulator, retries=retries, timeouts=Timeouts(read_s=0.1)) as api,
        pytest.raises(TransientError, match=rf"GET plants of http://127.0.0.1:\d+/: {told}.*\(3 attempts\)"),
    ):
        api.plants()


def test_a_fifth_of_faults_loses_and_doubles_nothing() -> None:
    """Ten days of all plants by four threads, while every fifth request fails in one way or another."""
    faults = "429=0.05,500=0.05,502=0.04,timeout=0.02,truncate=0.02,login=0.02,seed=11,hang_s=20"
    days = [DAY + dt.timedelta(days=offset) for offset in range(10)]
    calls: list[ApiCall] = []
    with running_emulator(faults=faults) as emulator:
        with client(emulator, calls, timeouts=Timeouts(read_s=0.5)) as api, ThreadPoolExecutor(4) as threads:
            codes = plant_codes(api)
            pages = threads.map(lambda day: list(api.running_times(codes, day, day)), days)
            received = [reading["ID"] for day in pages for page in day for reading in page]
        stats = emulator.stats()
    assert sorted(received) == sorted(r.number for r in flight_hours().readings(days[0], days[-1]))
    assert set(stats["faults"]) == {"429", "500", "502", "timeout", "truncate", "login"}
    assert sum(stats["faults"].values()) == stats["requests"] - len(calls)
    assert sum(call.rows for call in calls) == len(received) + 35
    assert stats["max_in_flight"] <= 4 + stats["faults"]["timeout"]  # a client that gave up may still count for a moment


def test_without_a_rate_the_requests_run_side_by_side() -> None:
    with running_emulator(latency_ms=60) as emulator:
        with client(emulator, max_in_flight=4) as api, ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda _: api.plants(), range(24)))
        stats = emulator.stats()
    assert stats["max_in_flight"] == 4
    assert stats["peak_per_s"] > 22


def test_a_throttled_request_pauses_all_threads() -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)

    now_s = iter(range(0, 10_000_000, 1))
    with running_emulator(faults="429=0.5,seed=5,retry_after_s=1") as emulator:
        options: dict[str, Any] = {"clock": lambda: next(now_s) / 1000, "sleep": sleep}
        with client(emulator, retries=Retries(attempts=30, retry_after_max_s=0.05), **options) as api:
            for _ in range(5):
                assert len(api.plants()) == 35
        throttled = emulator.stats()["faults"]["429"]
    assert throttled > 0
    assert len(pauses) >= throttled
    assert max(pauses) <= 0.05


def test_connections_are_kept_alive_until_the_end_of_the_block() -> None:
    with scripted_source(reply()) as source:
        with connect(source.url, "t") as api:
            for _ in range(5):
                api.plants()
        assert len({seen.client_port for seen in source.seen}) == 1
        with pytest.raises(RuntimeError, match="closed"):
            api.plants()
        assert len(source.seen) == 5


@pytest.mark.parametrize(
    ("codes", "size", "expected"),
    [
        ([], 5, []),
        (list("abcdefg"), 5, [list("abcde"), list("fg")]),
        (list("abcab"), 2, [["a", "b"], ["c"]]),
        (("a",), 1, [["a"]]),
    ],
)
def test_plants_are_asked_for_in_batches(codes: list[str], size: int, expected: list[list[str]]) -> None:
    assert batches(codes, size) == expected


def test_a_call_takes_five_plants_at_most() -> None:
    with Transport("http://127.0.0.1:1", Credentials("t", "raw")) as transport:
        for size in (0, 6):
            with pytest.raises(ValueError, match="1 to 5 plants"):
                ImsApi(transport, plants_per_call=size)


def test_a_window_that_ends_before_it_starts_is_a_mistake_of_the_caller(emulator: Emulator) -> None:
    with client(emulator) as api, pytest.raises(ValueError, match="before it starts"):
        api.running_times(["DLLG"], DAY, DAY - dt.timedelta(days=1))


@pytest.mark.parametrize("dialect", ["odata_v3", "soap"])
def test_a_dialect_that_nobody_speaks_is_refused(dialect: str) -> None:
    with pytest.raises(PermanentError, match=f"dialect {dialect} is not available"):
        connect("http://127.0.0.1:1", "t", dialect=dialect)


def test_a_reply_with_a_next_page_is_no_reply_of_ims() -> None:
    body = '{"d":{"results":[{"EQUNR":"N1"}],"__next":"https://host/more"}}'
    with (
        scripted_source(reply(body)) as source,
        connect(source.url, "t") as api,
        pytest.raises(PermanentError, match=r"paged.*CMMS_API_DIALECT"),
    ):
        list(api.equipment(["DLLG"]))
