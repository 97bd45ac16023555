"""Where a slice is cut: every record once, and what must be judged together is together, whatever the size of a chunk."""

from collections import defaultdict
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.domain.sap_values import read_key
from cmms_pipelines.sync.chunks import chunks_of

# the same machine in several spellings, and records that name none
NUMBERS = st.sampled_from(["7", "0007", " 7 ", 7, "N3", "N3__", "", None, *(str(number) for number in range(100, 112))])


@given(st.lists(NUMBERS, max_size=40), st.integers(0, 40), st.integers(1, 12), st.sampled_from([10, 60, 1 << 20]))
def test_the_records_of_a_machine_are_in_one_chunk_and_no_record_is_lost(
    numbers: list[object], split: int, chunk_rows: int, block_bytes: int
) -> None:
    records: list[dict[str, Any]] = [{"EQUNR": number, "id": place} for place, number in enumerate(numbers)]
    replies = [orjson.dumps(records[:split]), orjson.dumps({"data": records[split:]})]
    spools = [RecordSpool.of_reply([body], block_bytes) for body in replies]
    chunks = [list(chunk) for chunk in chunks_of(spools, chunk_rows, ("EQUNR", "equipment_number"))]
    assert sorted(record["id"] for chunk in chunks for record in chunk) == list(range(len(records)))
    places: defaultdict[str | None, set[int]] = defaultdict(set)
    for place, chunk in enumerate(chunks):
        for record in chunk:
            places[read_key(record["EQUNR"])].add(place)
    assert all(len(of_machine) == 1 for of_machine in places.values())
    most = max((numbers_of_machine for numbers_of_machine in map(len, _by_machine(records).values())), default=0)
    assert all(len(chunk) <= max(chunk_rows, most * len(places)) for chunk in chunks)


def _by_machine(records: list[dict[str, Any]]) -> dict[str | None, list[int]]:
    found: defaultdict[str | None, list[int]] = defaultdict(list)
    for record in records:
        found[read_key(record["EQUNR"])].append(record["id"])
    return found


def test_there_are_no_more_chunks_than_needed_and_of_one_size_where_no_machine_comes_twice() -> None:
    spool = RecordSpool.of_reply([orjson.dumps([{"EQUNR": f"N{number}"} for number in range(1050)])], 500)
    assert [len(chunk) for chunk in chunks_of([spool], 100, ("EQUNR",))] == [96] * 10 + [90]


def test_a_day_that_came_twice_is_judged_in_chunks_too() -> None:
    """All records are set aside, and still no chunk holds many more than it may."""
    body = orjson.dumps([{"EQUNR": f"N{number}"} for number in range(5000)])
    spools = [RecordSpool.of_reply([body]), RecordSpool.of_reply([body])]
    sizes = [len(chunk) for chunk in chunks_of(spools, 500, ("EQUNR",))]
    assert sum(sizes) == 10_000
    assert max(sizes) < 700


def test_no_records_make_no_chunk() -> None:
    assert list(chunks_of([RecordSpool.of_reply([b"[]"])], 10, ("EQUNR",))) == []
    assert list(chunks_of([], 10, ("EQUNR",))) == []
