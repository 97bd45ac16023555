"""The OData dialects over real HTTP: shapes, query options, paging, SAP's errors, and counters that do what real ones do."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator import counters
from cmms_pipelines.emulator.flights import flight_hours
from cmms_pipelines.emulator.odata import Traps
from cmms_pipelines.emulator.odata_query import (
    QueryError,
    at_most_days,
    at_most_values,
    options_of,
    ordered,
    parse_filter,
)
from tests.emulator_server import TOKEN, Emulator, running_emulator

V2 = "/sap/opu/odata/sap"
V4 = "/sap/opu/odata4/sap"
EQUIPMENT = {"odata_v2": f"{V2}/API_EQUIPMENT/Equipment", "odata_v4": f"{V4}/api_equipment/srvd_a2x/sap/equipment/0001/Equipment"}
POINTS = {
    "odata_v2": f"{V2}/API_MEASURINGPOINT/MeasuringPoint",
    "odata_v4": f"{V4}/api_measuringpoint/srvd_a2x/sap/measuringpoint/0001/MeasuringPoint",
}
DOCUMENTS = {
    "odata_v2": f"{V2}/API_MEASUREMENTDOCUMENT/MeasurementDocument",
    "odata_v4": f"{V4}/api_measurementdocument/srvd_a2x/sap/measurementdocument/0001/MeasurementDocument",
}
DAY = dt.date(2013, 10, 28)
OF_DAY = {
    "odata_v2": "MsmtRdngDate ge datetime'2013-10-28T00:00:00' and MsmtRdngDate le datetime'2013-10-28T00:00:00'",
    "odata_v4": "MsmtRdngDate eq 2013-10-28",
}
JETBLUE = " and (MaintenancePlant eq 'B6JF' or MaintenancePlant eq 'B6LG')"
both = pytest.mark.parametrize("dialect", EQUIPMENT)


@pytest.fixture(scope="module")
def emulators() -> Iterator[dict[str, Emulator]]:
    with running_emulator(dialect="odata_v2") as v2, running_emulator(dialect="odata_v4") as v4:
        yield {"odata_v2": v2, "odata_v4": v4}


def get(emulator: Emulator, path: str, **options: str) -> httpx.Response:
    with emulator.http() as http:
        return http.get(path, params={f"${name}": value for name, value in options.items()})


def rows(reply: httpx.Response) -> list[dict[str, Any]]:
    body = reply.raise_for_status().json()
    found: list[dict[str, Any]] = body["d"]["results"] if "d" in body else body["value"]
    return found


def test_version_2_spells_dates_as_ticks_times_as_durations_and_numbers_as_text(emulators: dict[str, Emulator]) -> None:
    number = "N504JB"
    (master,) = rows(get(emulators["odata_v2"], EQUIPMENT["odata_v2"], filter=f"Equipment eq '{number}'"))
    assert master.pop("__metadata")["type"] == "API_EQUIPMENT.EquipmentType"
    assert master == {
        "Equipment": number,
        "ValidityEndDate": "/Date(253402214400000)/",
        "ValidityEndTime": "PT00H00M00S",
        "ValidityStartDate": "/Date(1356998400000)/",
        "EquipmentName": "AIRBUS INDUSTRIE A320-232",
        "EquipmentCategory": "M",
        "TechnicalObjectType": "Fixed wing multi engine",
        "MaintenancePlant": "B6JF",
        "CompanyCode": "B6",
        "MaintObjectInternalID": f"IE{number}",
        "AssetManufacturerName": "AIRBUS INDUSTRIE",
        "ManufacturerPartTypeName": "A320-232",
        "ConstructionYear": "1999",
        "SizeOrDimensionText": "200 SEATS",
        "ENGINE": "Turbo-fan",
        "CreationDate": "/Date(1356998400000)/",
        "LastChangeDateTime": "/Date(1356999300000+0000)/",
        "EquipmentIsMarkedForDeletion": False,
        "EquipmentIsInactive": False,
    }


@both
def test_documents_count_in_seconds_and_say_the_reading_in_the_unit_of_its_entry(
    emulators: dict[str, Emulator], dialect: str
) -> None:
    expected = {str(reading.number): reading for reading in flight_hours().readings(DAY, DAY, {"B6JF", "B6LG"})}
    found = rows(get(emulators[dialect], DOCUMENTS[dialect], filter=OF_DAY[dialect] + JETBLUE))
    assert {document["MeasurementDocument"] for document in found} == set(expected)
    for document in found:
        reading = expected[document["MeasurementDocument"]]
        assert (document["MaintenancePlant"], document["MeasuringPoint"]) == (reading.plant_code, str(reading.machine.number))
        counter = round(reading.counter_minutes / 60, 4)
        assert float(document["MeasurementReadingInEntryUoM"]) == pytest.approx(counter)
        assert float(document["MeasurementCounterReading"]) == pytest.approx(counter * 3600)
        assert float(document["MsmtCounterReadingDifference"]) == pytest.approx(round(reading.running_minutes / 60, 4) * 3600)
    kinds = {type(document["MeasurementCounterReading"]) for document in found}
    assert kinds == ({str} if dialect == "odata_v2" else {float})


@both
def test_a_list_is_paged_by_the_server_until_its_end(dialect: str) -> None:
    with running_emulator(dialect=dialect, page_size=100) as emulator, emulator.http() as http:
        options = {"$filter": OF_DAY[dialect], "$select": "MeasurementDocument"}
        options |= {"$inlinecount": "allpages"} if dialect == "odata_v2" else {"$count": "true"}
        reply = http.get(DOCUMENTS[dialect], params=options)
        sizes, total = [], None
        while True:
            body = reply.raise_for_status().json()
            inner = body.get("d", body)
            total = total or inner.get("__count") or inner.get("@odata.count")
            sizes.append(len(rows(reply)))
            link = inner.get("__next") or inner.get("@odata.nextLink")
            if not link:
                break
            assert link.startswith("http://") == (dialect == "odata_v2")
            reply = http.get(reply.request.url.join(link))
    expected = len(list(flight_hours().readings(DAY, DAY)))
    assert (sum(sizes), int(total or 0)) == (expected, expected)
    assert sizes[:-1] == [100] * (len(sizes) - 1)


@pytest.mark.parametrize("sent", [TOKEN, f"Bearer {TOKEN}"])
@both
def test_the_token_is_taken_in_each_form(emulators: dict[str, Emulator], dialect: str, sent: str) -> None:
    reply = httpx.get(
        emulators[dialect].url + POINTS[dialect], params={"$top": "1"}, headers={"Authorization": sent}, trust_env=False
    )
    assert len(rows(reply)) == 1


@pytest.mark.parametrize("sent", [None, "", "wrong", f"Basic {TOKEN}"])
@both
def test_nobody_else_is_let_in(emulators: dict[str, Emulator], dialect: str, sent: str | None) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    reply = httpx.get(emulators[dialect].url + POINTS[dialect], headers=headers, trust_env=False)
    assert (reply.status_code, "Logon failed" in reply.text) == (401, True)


@both
@pytest.mark.parametrize(
    ("entity", "options", "message"),
    [
        ("points", {"filter": "Weight eq 3"}, "Property Weight not found in type."),
        ("points", {"filter": "MeasuringPoint like 'x'"}, "Invalid comparison 'MeasuringPoint like x' in $filter."),
        ("points", {"filter": "(MeasuringPoint eq '1'"}, "$filter ends too early."),
        ("points", {"orderby": "MeasuringPoint sideways"}, "Invalid $orderby 'MeasuringPoint sideways'."),
        ("points", {"select": "Nothing"}, "Property Nothing not found in type."),
        ("points", {"top": "many"}, "Invalid value 'many' of $top."),
        ("points", {"skiptoken": "zz"}, "Invalid value 'zz' of $skiptoken."),
        ("points", {"apply": "x"}, "System query option '$apply' is not supported."),
        ("documents", {}, "$filter must limit MsmtRdngDate to at most 366 days."),
    ],
)
def test_what_is_not_understood_is_refused_as_saps_gateway_does(
    emulators: dict[str, Emulator], dialect: str, entity: str, options: dict[str, str], message: str
) -> None:
    reply = get(emulators[dialect], {"points": POINTS, "documents": DOCUMENTS}[entity][dialect], **options)
    assert reply.status_code == 400
    said = reply.json()["error"]["message"]
    assert (said["value"] if dialect == "odata_v2" else said) == message


@both
def test_a_service_that_does_not_exist_is_a_404_of_sap(emulators: dict[str, Emulator], dialect: str) -> None:
    reply = get(emulators[dialect], "/sap/opu/odata/sap/API_NOTHING/Things")
    assert reply.status_code == 404
    assert reply.json()["error"]["code"] == "/IWBEP/CM_MGW_RT/020"


@both
def test_time_segments_of_a_machine_are_rows_of_their_own(emulators: dict[str, Emulator], dialect: str) -> None:
    machine = next(m for m in flight_hours().machines if m.is_registered and m.number % 10 == 0)
    wanted = {"filter": f"Equipment eq '{machine.tail_number}'", "orderby": "Equipment,ValidityEndDate desc"}
    found = rows(get(emulators[dialect], EQUIPMENT[dialect], **wanted))
    assert [row["EquipmentName"] for row in found] == [machine.description, "IN DELIVERY"]


def test_the_published_figures_know_no_special_counters(emulators: dict[str, Emulator]) -> None:
    points = [
        row
        for skip in range(0, 5000, 1000)
        for row in rows(get(emulators["odata_v4"], POINTS["odata_v4"], skip=str(skip), top="1000"))
    ]
    assert len(points) == 4_043
    assert not any(row["MsrgPtIsCountingBackwards"] or row["CounterOverflowRdngThreshold"] for row in points)
    assert not any(row["MeasuringPointIsInactive"] for row in points)


def test_every_kind_of_counter_is_served_on_demand() -> None:
    kinds = Counter(counters.kind_of(machine) for machine in flight_hours().machines)
    assert set(kinds) == set(counters.CounterKind)
    assert all(kinds[kind] > 150 for kind in counters.SPECIAL)
    month = "MsmtRdngDate ge 2013-10-01 and MsmtRdngDate le 2013-10-31 and MaintenancePlant eq 'B6JF'"
    with running_emulator(dialect="odata_v4", has_counters=True, page_size=10_000) as emulator:
        documents = rows(get(emulator, DOCUMENTS["odata_v4"], filter=month))
        points = {row["MeasuringPoint"]: row for row in rows(get(emulator, POINTS["odata_v4"]))}
    assert any(document["MsmtRdngIsReversed"] for document in documents)
    assert any(document["MsmtCounterReadingIsReplaced"] for document in documents)
    assert any(document["MsmtCntrReadingDiffIsEntered"] for document in documents)
    of_point = [points[document["MeasuringPoint"]] for document in documents]
    assert any(point["MsrgPtIsCountingBackwards"] for point in of_point)
    assert any(point["MeasuringPointIsInactive"] for point in of_point)
    limits = {point["CounterOverflowRdngThreshold"] for point in of_point}
    assert limits == {0.0, counters.OVERFLOW_MINUTES * 60.0}
    for document, point in zip(documents, of_point, strict=True):
        limit = point["CounterOverflowRdngThreshold"]
        assert not limit or document["MeasurementCounterReading"] < limit


def test_special_counters_go_back_and_their_machines_still_ran_what_they_flew() -> None:
    fallen: Counter[counters.CounterKind] = Counter()
    shown: dict[int, int] = {}
    for reading in flight_hours().readings(dt.date(2013, 10, 1), dt.date(2013, 10, 31)):
        documents = list(counters.documents(reading))
        kind = counters.kind_of(reading.machine)
        assert documents[-1].reading == reading
        assert len(documents) == 1 + (kind is counters.CounterKind.REVERSED and reading.date.day % 5 == 0)
        last = documents[-1].counter_minutes
        fallen[kind] += last < shown.get(reading.machine.number, last)
        shown[reading.machine.number] = last
    kinds = counters.CounterKind
    assert all(fallen[kind] > 0 for kind in (kinds.OVERFLOW, kinds.REPLACED, kinds.RESET, kinds.BACKWARDS))
    # a machine that two plants flew on one day is listed plant by plant, so that it may seem to go back
    assert all(fallen[kind] < fallen[kinds.BACKWARDS] / 5 for kind in (kinds.DIFFERENCE, kinds.INACTIVE))


def test_the_first_dialect_serves_special_counters_too() -> None:
    window = {"start_date": "2013-10-01", "end_date": "2013-10-31"}
    with running_emulator(has_counters=True) as emulator, emulator.http() as http:
        reply = http.request("GET", "/equipments/jam-jalan", params=window, json={"plant": ["B6JF"]}).json()["data"]
    assert any(row["CANCL"] == "X" for row in reply)
    assert any(row["EXCHG"] == "X" for row in reply)
    assert any(float(row["RECDV"]) < 0 for row in reply)


@pytest.mark.parametrize(
    ("spec", "message"), [("gap", "'gap' is none of no_filter, plus"), ("plus,quotes", "a token is of one kind")]
)
def test_a_trap_that_does_not_exist_is_refused(spec: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message):
        Traps.parse(spec)


ROW = {"Name": "O'HARE", "Day": dt.date(2013, 10, 28), "Size": 3.5, "IsOld": False, "Nothing": None}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("", True),
        ("Name eq 'O''HARE'", True),
        ("Name ne 'O''HARE'", False),
        ("Day eq 2013-10-28", True),
        ("Day eq datetime'2013-10-28T00:00:00'", True),
        ("Day gt 2013-10-28", False),
        ("Size ge 3.5 and Size lt 4", True),
        ("IsOld eq false", True),
        ("Name eq 'x' or Size eq 3.5 and IsOld eq true", False),
        ("(Name eq 'x' or Size eq 3.5) and IsOld eq false", True),
        ("Nothing eq ''", True),
        ("Nothing eq 'x'", False),
        ("Nothing ne 'x'", True),
    ],
)
def test_a_filter_means_what_it_says(text: str, holds: bool) -> None:
    assert parse_filter(text, ROW).matches(ROW) is holds


@pytest.mark.parametrize(
    "text", ["Name", "Name eq", "Name eq 'x' and", "Name eq 'x')", "Name 3 4", "Day eq 2013-13-45", "Name eq ;"]
)
def test_a_filter_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(QueryError):
        parse_filter(text, ROW)


def test_what_a_filter_limits_is_known_before_rows_are_made() -> None:
    condition = parse_filter("Day ge 2013-10-28 and (Day le 2013-10-30) and (Name eq 'a' or Name eq 'b') and Size gt 1", ROW)
    assert at_most_days(condition, "Day") == (dt.date(2013, 10, 28), dt.date(2013, 10, 30))
    assert at_most_values(condition, "Name") == {"a", "b"}
    assert at_most_values(condition, "Size") is None
    assert at_most_values(parse_filter("Name eq 'a' or Size gt 1", ROW), "Name") is None


def test_a_plus_in_a_token_is_a_plus_and_elsewhere_a_blank() -> None:
    assert options_of("%24skiptoken=a+b%2Bc&$filter=a+b&x=1") == {"$skiptoken": "a+b+c", "$filter": "a b", "x": "1"}


def test_rows_are_ordered_by_several_properties() -> None:
    unordered = [{"A": 1, "B": 1}, {"A": 2, "B": 1}, {"A": 1, "B": 2}]
    assert ordered(unordered, "A desc,B", ("A", "B")) == [unordered[1], unordered[0], unordered[2]]
