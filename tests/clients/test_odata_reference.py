"""Measuring points and machines of an OData source: what is joined to what, and that memory does not grow with them."""

import json
import subprocess
import sys
from typing import Any

import pytest

from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.odata_reference import Machines, Points, Reference, ReferenceData
from cmms_pipelines.domain.errors import PermanentError
from tests.clients.many_machines import DAY
from tests.clients.scripted_source import reply, scripted_source

HOURS = {"MeasuringPointIsCounter": True, "MeasuringPointSIUnitOfMeasure": "S"}
KILOMETRES = {"MeasuringPointIsCounter": True, "MeasuringPointSIUnitOfMeasure": "M"}
Rows = list[dict[str, Any]]


def reference_of(points: Rows, machines: Rows, known: ReferenceData | None = None) -> Reference:
    database = (known or ReferenceData()).database
    return Reference(database, Points(database, [points]), Machines(database, [machines]))


@pytest.mark.parametrize(
    ("points", "counter"),
    [
        ([("1", False, HOURS), ("2", False, HOURS)], "1"),
        ([("1", True, HOURS), ("2", False, HOURS), ("3", False, HOURS)], "2"),
        ([("1", "X", HOURS), ("2", "", HOURS), ("3", "x", HOURS)], "2"),
        ([("1", True, HOURS), ("2", True, HOURS)], "2"),
        ([("1", False, KILOMETRES), ("2", True, HOURS)], "2"),
        ([("1", None, {}), ("2", None, HOURS)], "1"),
        ([("1", False, KILOMETRES)], None),
        ([], None),
    ],
)
def test_the_point_of_a_machine_is_its_first_counter_of_hours_in_use(points: list[tuple[str, Any, Any]], counter: str) -> None:
    other = {"MeasuringPoint": "0", "Equipment": "B", **HOURS}
    rows = [
        {"MeasuringPoint": number, "Equipment": "A", "MeasuringPointIsInactive": is_inactive, **properties}
        for number, is_inactive, properties in points
    ]
    (machine,) = Points(ReferenceData().database, [[other], rows]).with_counters([{"Equipment": "A", "EquipmentName": "PUMP"}])
    assert machine.get("MeasuringPoint") == counter
    assert machine["EquipmentName"] == "PUMP"


def test_a_machine_without_a_number_has_no_point() -> None:
    points = Points(ReferenceData().database, [[{"MeasuringPoint": "1", **HOURS}, {"MeasuringPoint": "2", "Equipment": ""}]])
    machines: Rows = [{"EquipmentName": "PUMP"}, {"Equipment": ""}, {"Equipment": None}]
    assert points.with_counters(machines) == machines


def test_a_document_has_of_its_point_and_machine_what_it_lacks_and_keeps_its_own() -> None:
    point = {"MeasuringPoint": "1", "Equipment": "A", "MeasurementRangeUnit": "H", "Unasked": "x", **HOURS}
    machine = {"Equipment": "A", "EquipmentName": "PUMP", "MaintenancePlant": "P1", "CompanyCode": None, "Unasked": "x"}
    documents = [
        {"MeasurementDocument": "1", "MeasuringPoint": "1", "MaintenancePlant": "P2"},
        {"MeasurementDocument": "2", "MeasuringPoint": "1", "MaintenancePlant": "", "MeasurementRangeUnit": "MIN"},
    ]
    of_both = {"Equipment": "A", "EquipmentName": "PUMP", **HOURS}
    assert reference_of([point], [machine]).hours(documents) == [
        {**documents[0], **of_both, "MeasurementRangeUnit": "H"},
        {**documents[1], **of_both, "MaintenancePlant": "P1"},
    ]


def test_a_document_of_an_unknown_point_is_kept_and_one_of_another_unit_is_left_out() -> None:
    points = [{"MeasuringPoint": "1", **KILOMETRES}]
    documents: Rows = [
        {"MeasurementDocument": "1", "MeasuringPoint": "1"},
        {"MeasurementDocument": "2", "MeasuringPoint": "2"},
        {"MeasurementDocument": "3"},
        {"MeasurementDocument": "4", "MeasuringPoint": "2", "Equipment": "A"},
    ]
    hours = reference_of(points, [{"Equipment": "A", "EquipmentName": "PUMP"}]).hours(documents)
    assert hours == [documents[1], documents[2], {**documents[3], "EquipmentName": "PUMP"}]


@pytest.mark.parametrize(
    "threshold",
    [
        "359996400.000",
        "007",
        "",
        "1e5",
        359_996_400.1,
        1e300,
        5e-324,
        -0.0,
        2**64 - 1,
        -(2**63),
        0,
        True,
        "é\u2028\0 '\"",
        [1, {"a": None}],
    ],
)
def test_values_come_back_just_as_they_came(threshold: object) -> None:
    reference = reference_of([{"MeasuringPoint": "1", "CounterOverflowRdngThreshold": threshold, **HOURS}], [])
    (document,) = reference.hours([{"MeasuringPoint": "1"}])
    assert repr(document["CounterOverflowRdngThreshold"]) == repr(threshold)


def test_numbers_that_are_no_text_find_each_other_as_texts() -> None:
    reference = reference_of([{"MeasuringPoint": 7, "Equipment": 12.5, **HOURS}], [{"Equipment": "12.5", "MaintenancePlant": 1}])
    (document,) = reference.hours([{"MeasuringPoint": "7"}])
    assert (document["Equipment"], document["MaintenancePlant"]) == (12.5, 1)
    assert list(reference.points_of(["1"])) == ["7"]


def test_the_points_of_plants_are_all_counters_of_hours_of_their_machines_each_once_and_in_order() -> None:
    machines = [{"Equipment": f"M{number:04d}", "MaintenancePlant": f"P{number % 2}"} for number in range(3000)]
    machines.append({"Equipment": "M9999", "MaintenancePlant": None})
    points = [
        {"MeasuringPoint": f"{machine['Equipment']}/{kind}", "Equipment": machine["Equipment"], **properties}
        for machine in reversed(machines)
        for kind, properties in (("b", HOURS), ("c", KILOMETRES), ("a", HOURS))
    ]
    points += [{"MeasuringPoint": "of no machine", **HOURS}, {"MeasuringPoint": "of an unknown one", "Equipment": "X", **HOURS}]
    reference = reference_of(points, machines)
    assert list(reference.points_of(["P1", "nowhere", "P0"])) == [
        f"M{number:04d}/{kind}" for first in (1, 0) for number in range(first, 3000, 2) for kind in "ba"
    ]


@pytest.mark.parametrize("is_of_points", [True, False])
def test_what_came_before_a_list_broke_off_is_not_taken_for_the_whole(is_of_points: bool) -> None:
    points = [{"MeasuringPoint": number, "Equipment": number, **HOURS} for number in "12"]
    machines = [{"Equipment": number, "EquipmentName": f"PUMP {number}"} for number in "12"]
    documents = value([{"MeasurementDocument": number, "MeasuringPoint": number} for number in "12"])
    broken = value((points if is_of_points else machines)[:1], "next"), reply("{}", 403)
    before = [value([]), documents, *([value(machines)] if is_of_points else []), *broken]
    with (
        scripted_source(*before, documents, value(machines), value(points)) as source,
        connect(source.url, "t", dialect="odata_v4") as api,
    ):
        with pytest.raises(PermanentError, match="403"):
            list(api.running_times(["P1"], DAY, DAY))
        (page,) = api.running_times(["P1"], DAY, DAY)
    assert [(record["Equipment"], record["EquipmentName"]) for record in page] == [("1", "PUMP 1"), ("2", "PUMP 2")]


def test_the_database_goes_with_the_reference_data() -> None:
    known = ReferenceData()
    reference = reference_of([{"MeasuringPoint": "1", **HOURS}], [], known)
    closing = known.database.close
    del known
    assert closing.alive  # as long as somebody looks things up in it
    del reference
    assert not closing.alive


def test_memory_does_not_grow_with_the_machines_of_a_source() -> None:
    few, many = 8_000, 80_000
    assert peak_mb(many) < peak_mb(few) + 25  # kept in memory they would be 90 MB more


def peak_mb(machines: int) -> int:
    command = [sys.executable, "-m", "tests.clients.many_machines", str(machines)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    joined, peak = map(int, done.stdout.split())
    assert joined == machines
    return peak


def value(rows: Rows, link: str | None = None) -> Any:  # noqa: ANN401 - a scripted reply
    return reply(json.dumps({"value": rows} | ({"@odata.nextLink": link} if link else {})))
