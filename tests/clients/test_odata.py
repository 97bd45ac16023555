"""The OData clients against the real emulator: paging followed as given, whatever a server makes of it, and nothing lost."""

import datetime as dt
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import unquote

import pytest

from cmms_pipelines.clients.api import ConnectedApi, ExternalApi
from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.odata import LONGEST_URL, V2, V4
from cmms_pipelines.clients.odata_pages import PASSES
from cmms_pipelines.clients.transport import Retries
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.emulator.flights import flight_hours
from tests.clients.scripted_source import reply, scripted_source
from tests.emulator_server import TOKEN, Emulator, running_emulator

DAY = dt.date(2013, 10, 28)
QUICK = Retries(attempts=12, wait_initial_s=0.001, wait_max_s=0.004, wait_jitter_s=0.001, retry_after_max_s=0.01)
DIALECTS = {"odata_v2": V2, "odata_v4": V4}
ONE_PAGE = 10_000  # rows: each list is one request
PLANTS = ["B6JF", "DLLG", "EVEW", "UAEW"]
NUMBERS = {str(reading.number) for reading in flight_hours().readings(DAY, DAY)}
both = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module", params=DIALECTS)
def emulator(request: pytest.FixtureRequest) -> Iterator[tuple[Emulator, str]]:
    with running_emulator(dialect=request.param, page_size=200) as server:
        yield server, request.param


def client(server: Emulator, dialect: str, calls: list[ApiCall] | None = None, **options: Any) -> ConnectedApi:  # noqa: ANN401
    settings: dict[str, Any] = {"retries": QUICK, "on_call": (calls if calls is not None else []).append}
    return connect(server.url, server.token, options.pop("auth", "raw"), dialect, **(settings | options))


def plant_codes(api: ExternalApi) -> list[str]:
    return [plant["Plant"] for plant in api.plants()]


def documents(api: ExternalApi) -> list[dict[str, Any]]:
    return [record for page in api.running_times(plant_codes(api), DAY, DAY) for record in page]


def test_a_day_of_every_plant_is_whole_and_each_document_has_its_point_and_machine(emulator: tuple[Emulator, str]) -> None:
    calls: list[ApiCall] = []
    with client(*emulator, calls) as api:
        received = documents(api)
    assert sorted(record["MeasurementDocument"] for record in received) == sorted(NUMBERS)
    machines = {machine.tail_number: machine for machine in flight_hours().machines}
    for record in received:
        machine = machines[record["Equipment"]]
        assert record["MeasuringPointObjectIdentifier"] == f"IE{machine.tail_number}"
        assert record.get("EquipmentName") == (machine.description if machine.is_registered else None)
        assert {"CounterOverflowRdngThreshold", "MsrgPtIsCountingBackwards", "MeasuringPointIsInactive"} <= record.keys()
    version = DIALECTS[emulator[1]]
    assert {call.endpoint for call in calls} == {version.plants, version.documents, version.points, version.equipment}
    assert all((call.status, call.attempts, call.error) == (200, 1, None) for call in calls)


@both
def test_points_and_equipment_are_fetched_once_for_all_threads(dialect: str) -> None:
    version, days = DIALECTS[dialect], [DAY + dt.timedelta(days=offset) for offset in range(4)]
    with (
        running_emulator(dialect=dialect, page_size=ONE_PAGE) as server,
        client(server, dialect, max_in_flight=4) as api,
        ThreadPoolExecutor(4) as threads,
    ):
        assert all(threads.map(lambda day: list(api.running_times(["B6JF", "DLLG"], day, day)), days))
        # of the documents each day, and once whether they name plants
        hours = {version.documents: len(days) + 1, version.points: 1, version.equipment: 1}
        assert asked(server) == hours
        assert all(threads.map(lambda code: list(api.equipment([code])), PLANTS))
        assert asked(server) == hours | {version.equipment: 1 + len(PLANTS)}


@both
def test_masters_are_downloaded_by_plant_alone_and_their_points_once_for_all_threads(dialect: str) -> None:
    version = DIALECTS[dialect]
    with (
        running_emulator(dialect=dialect, page_size=ONE_PAGE) as server,
        client(server, dialect, max_in_flight=4) as api,
        ThreadPoolExecutor(4) as threads,
    ):
        assert all(threads.map(lambda code: list(api.equipment([code])), PLANTS))
        assert asked(server) == {version.equipment: len(PLANTS), version.points: 1}


def test_of_several_time_segments_the_newest_is_handed_on(emulator: tuple[Emulator, str]) -> None:
    with client(*emulator) as api:
        masters = [record for page in api.equipment([*plant_codes(api), ""]) for record in page]
    assert len(masters) == len({record["Equipment"] for record in masters}) == 3_322
    assert all(record["EquipmentName"] != "IN DELIVERY" for record in masters)
    assert all(int(record["MeasuringPoint"]) > 0 for record in masters)


def test_a_segment_that_has_ended_is_left_out_even_where_the_server_ignores_the_filter() -> None:
    rows = [
        {"Equipment": "A", "ValidityEndDate": "9999-12-31", "EquipmentName": "now"},
        {"Equipment": "A", "ValidityEndDate": "2014-04-30", "EquipmentName": "then"},
        {"Equipment": "B", "ValidityEndDate": "2014-04-30", "EquipmentName": "gone"},
    ]
    with scripted_source(value(rows), value([])) as source, connect(source.url, "t", dialect="odata_v4") as api:
        (page,) = api.equipment(["P1"])
    assert [record["EquipmentName"] for record in page] == ["now"]


def test_a_server_that_does_not_sort_its_segments_is_an_error_and_not_an_old_master() -> None:
    rows = [{"Equipment": "A", "ValidityEndDate": "2030-01-01"}, {"Equipment": "A", "ValidityEndDate": "9999-12-31"}]
    with (
        scripted_source(value(rows)) as source,
        connect(source.url, "t", dialect="odata_v4") as api,
        pytest.raises(PermanentError, match="does not sort"),
    ):
        list(api.equipment(["P1"]))


@both
@pytest.mark.parametrize("traps", ["no_filter", "plus", "quotes", "overlap", "deleted", "quotes,overlap,deleted"])
def test_whatever_a_server_does_to_its_pages_each_document_arrives_once(dialect: str, traps: str) -> None:
    with running_emulator(dialect=dialect, page_size=150, traps=traps) as server, client(server, dialect) as api:
        received = [record["MeasurementDocument"] for record in documents(api)]
    assert len(received) == len(set(received))
    assert set(received) == NUMBERS


@both
def test_a_server_that_pages_in_a_circle_is_an_error_and_not_an_endless_run(dialect: str) -> None:
    with (
        running_emulator(dialect=dialect, page_size=10, traps="repeat") as server,
        client(server, dialect) as api,
        pytest.raises(PermanentError, match="pages in a circle"),
    ):
        api.plants()


def test_new_links_to_the_same_rows_are_a_circle_too() -> None:
    rows = [{"Plant": "P1"}]
    pages = [value(rows, f"Plant?$skiptoken={number}") for number in range(5)]
    with (
        scripted_source(*pages) as source,
        connect(source.url, "t", dialect="odata_v4") as api,
        pytest.raises(PermanentError, match="repeats itself"),
    ):
        api.plants()
    assert len(source.seen) == 2


def test_a_list_that_stays_shorter_than_its_count_is_an_error_and_not_a_short_list() -> None:
    short = reply(json.dumps({"@odata.count": 3, "value": [{"Plant": "P1"}, {"Plant": "P2"}]}))
    with (
        scripted_source(short) as source,
        connect(source.url, "t", dialect="odata_v4") as api,
        pytest.raises(TransientError, match=r"counts 3 rows"),
    ):
        api.plants()
    assert len(source.seen) == PASSES


@pytest.mark.parametrize(
    ("link", "path", "query"),
    [
        ("Plant?$skiptoken=1+2", "0001/Plant", "$skiptoken=1+2"),
        ("Plant?$skiptoken=%2B%27a%27", "0001/Plant", "$skiptoken=%2B%27a%27"),
        ("/elsewhere/Plant?a=b&$skiptoken=x%3D", "elsewhere/Plant", "a=b&$skiptoken=x%3D"),
        ("{url}/next?$skiptoken=7", "next", "$skiptoken=7"),
    ],
)
def test_a_next_link_is_followed_as_it_was_given(link: str, path: str, query: str) -> None:
    with scripted_source() as source:
        source.replies += [value([{"Plant": "P1"}], link.format(url=source.url)), value([{"Plant": "P2"}])]
        calls: list[ApiCall] = []
        with connect(source.url, "t", dialect="odata_v4", on_call=calls.append) as api:
            assert plant_codes(api) == ["P1", "P2"]
    assert source.seen[1].path.endswith(path)
    assert source.seen[1].query == query
    assert "://" not in calls[1].endpoint


@pytest.mark.parametrize("link", ["http://127.0.0.2/Plant", "//elsewhere.example/Plant", "https://{host}/Plant"])
def test_a_link_to_another_host_is_refused_before_it_gets_the_token(link: str) -> None:
    with scripted_source() as source:
        source.replies.append(value([{"Plant": "P1"}], link.format(host=source.url.removeprefix("http://"))))
        with (
            connect(source.url, "t", dialect="odata_v4") as api,
            pytest.raises(PermanentError, match="must not get this token"),
        ):
            api.plants()
        assert len(source.seen) == 1


def test_many_plants_are_asked_for_in_urls_that_gateways_take() -> None:
    codes = [f"PLANT {number:04d}" for number in range(300)] + ["O'HARE"]
    with scripted_source(value([])) as source, connect(source.url, "t", dialect="odata_v2") as api:
        assert list(api.equipment(codes)) == []
    assert 1 < len(source.seen) < len(codes) / 10
    assert all(len(f"{seen.path}?{seen.query}") <= LONGEST_URL + 100 for seen in source.seen)
    asked = "".join(seen.query for seen in source.seen)
    assert asked.count("MaintenancePlant%20eq%20") == len(codes)
    assert "O''HARE" in asked.replace("%27", "'")


@both
@pytest.mark.parametrize("auth", ["raw", "bearer", "basic"])
def test_each_way_to_log_in_works(dialect: str, auth: str) -> None:
    with running_emulator(token="user:password", dialect=dialect) as server, client(server, dialect, auth=auth) as api:
        assert len(api.plants()) == 35


@both
def test_a_wrong_token_gets_the_logon_page_as_a_permanent_error(dialect: str) -> None:
    with (
        running_emulator(dialect=dialect) as server,
        connect(server.url, "wrong-token", "bearer", dialect) as api,
        pytest.raises(PermanentError, match=r"status 401.*Logon.*CMMS_API_TOKEN and CMMS_API_AUTH") as failure,
    ):
        api.plants()
    assert "wrong-token" not in str(failure.value)
    assert TOKEN not in str(failure.value)


@both
def test_a_fifth_of_faults_loses_and_doubles_nothing(dialect: str) -> None:
    faults = "429=0.05,500=0.05,502=0.05,truncate=0.05,login=0.03,seed=3"
    with running_emulator(faults=faults, dialect=dialect, page_size=100) as server:
        with client(server, dialect) as api:
            received = [record["MeasurementDocument"] for record in documents(api)]
        assert sum(server.stats()["faults"].values()) >= 10
    assert sorted(received) == sorted(NUMBERS)


@both
def test_documents_that_name_no_plant_are_asked_for_by_the_counters_of_the_plants_machines(dialect: str) -> None:
    calls: list[ApiCall] = []
    with running_emulator(dialect=dialect, is_standard=True) as server, client(server, dialect, calls) as api:
        received = documents(api)
        of_one_plant = [record for page in api.running_times(["B6JF"], DAY, DAY) for record in page]
    flown = {str(r.number): r for r in flight_hours().readings(DAY, DAY) if r.machine.is_registered}
    assert sorted(record["MeasurementDocument"] for record in received) == sorted(flown)
    for record in received:
        machine = flown[record["MeasurementDocument"]].machine
        assert (record["MaintenancePlant"], record["CompanyCode"]) == (machine.plant_code, str(machine.plant_code)[:2])
    assert 0 < len(of_one_plant) < len(received)
    assert {record["MaintenancePlant"] for record in of_one_plant} == {"B6JF"}
    refused = [call for call in calls if call.error]
    assert [(call.status, call.attempts) for call in refused] == [(400, 1)]  # the one question whether documents name plants


@pytest.mark.parametrize(
    ("point", "is_handed_on"),
    [
        ({"MeasuringPointIsCounter": True, "MeasuringPointSIUnitOfMeasure": "S"}, True),
        ({"MeasuringPointIsCounter": "X"}, True),
        ({"MeasuringPointIsCounter": True, "MeasuringPointSIUnitOfMeasure": "M"}, False),  # kilometres
        ({"MeasuringPointIsCounter": False, "MeasuringPointSIUnitOfMeasure": "PA"}, False),  # a pressure
        ({}, True),
    ],
)
def test_only_documents_of_hour_counters_are_readings(point: dict[str, Any], is_handed_on: bool) -> None:
    rows = [{"MeasurementDocument": "1", "MeasuringPoint": "7"}, {"MeasurementDocument": "2", "MeasuringPoint": "unknown"}]
    replies = [value([]), value(rows), value([]), value([{"MeasuringPoint": "7", "Equipment": "A", **point}])]
    with scripted_source(*replies) as source, connect(source.url, "t", dialect="odata_v4") as api:
        received = [record["MeasurementDocument"] for page in api.running_times(["P1"], DAY, DAY) for record in page]
    assert received == (["1", "2"] if is_handed_on else ["2"])


def test_no_plants_no_requests(emulator: tuple[Emulator, str]) -> None:
    calls: list[ApiCall] = []
    with client(*emulator, calls) as api:
        assert list(api.equipment([])) == []
        assert list(api.running_times([], DAY, DAY)) == []
    assert calls == []


def test_a_service_that_is_not_there_has_no_list_of_plants_but_no_silent_list_of_documents() -> None:
    missing = reply('{"error":{"code":"/IWBEP/CM_MGW_RT/020","message":{"lang":"en","value":"Resource not found."}}}', 404)
    with scripted_source(missing) as source, connect(source.url, "t", dialect="odata_v2") as api:
        assert api.plants() == []
        with pytest.raises(PermanentError, match="status 404"):
            list(api.running_times(["P1"], DAY, DAY))


def test_windows_must_not_end_before_they_start() -> None:
    with connect("http://127.0.0.1:1", "t", dialect="odata_v2") as api:
        for ask in (api.running_times, api.work_orders):
            with pytest.raises(ValueError, match="before it starts"):
                list(ask(["P1"], DAY, DAY - dt.timedelta(days=1)))


def test_work_orders_are_asked_for_by_the_day_of_their_last_change() -> None:
    with scripted_source(value([{"MaintenanceOrder": "1"}])) as source, connect(source.url, "t", dialect="odata_v4") as api:
        assert list(api.work_orders(["P1"], dt.date(2014, 3, 1), dt.date(2014, 3, 31))) == [[{"MaintenanceOrder": "1"}]]
        asked = unquote(source.seen[0].query)
    window = "LastChangeDateTime ge 2014-03-01T00:00:00Z and LastChangeDateTime lt 2014-04-01T00:00:00Z"
    assert f"{window} and (MaintenancePlant eq 'P1')" in asked


def asked(server: Emulator) -> dict[str, int]:
    """How many requests each list has had."""
    return {path.removeprefix("/"): count for path, count in server.stats()["endpoints"].items()}


def value(rows: list[dict[str, Any]], link: str | None = None) -> Any:  # noqa: ANN401 - a scripted reply
    return reply(json.dumps({"value": rows} | ({"@odata.nextLink": link} if link else {})))
