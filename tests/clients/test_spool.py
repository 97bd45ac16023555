"""Replies in a file: each envelope in blocks of any size, cut anywhere it is an error, and nothing is lost on the way."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.clients.envelope import records_and_next
from cmms_pipelines.clients.spool import BrokenReplyError, RecordSpool
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.record_digests import digests_of

# whatever looks like a border between records without being one
AWKWARD: list[dict[str, Any]] = [
    {"EQUNR": "N1", "parts": [{"x": "},{"}, {"y": 2}, []], "text": 'q"],[{"'},
    {"EQUNR": "é},{", "ü\\": "\\"},
    {},
    {"d": {"results": [{"data": [1, 2]}]}, "n": None},
]
LINK = "https://host/sap/Equipment?$skiptoken=100"
REPLIES: list[Any] = [
    {"data": AWKWARD},
    AWKWARD,
    {"d": {"__count": "4", "results": AWKWARD, "__next": LINK}},
    {"d": AWKWARD},
    {"@odata.context": "x[", "value": AWKWARD, "@odata.nextLink": LINK},
    {"meta": [1, {"data": [3]}], "data": AWKWARD, "links": {"a": [[1], [2]], "b": "]"}},
    {"data": AWKWARD, "included": [{"z": number} for number in range(30)]},
    {"data": []},
    [],
    None,
]


def compact(body: object) -> bytes:
    return orjson.dumps(body)


def indented(body: object) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_INDENT_2)


def spooled(body: bytes, block_bytes: int) -> RecordSpool:
    return RecordSpool.of_reply([body], block_bytes)


@pytest.mark.parametrize("body", REPLIES)
@pytest.mark.parametrize("written", [compact, indented])
@pytest.mark.parametrize("block_bytes", [1, 7, 30, 1 << 20])
def test_every_envelope_gives_its_records_and_link_whatever_the_size_of_blocks(
    body: Any,  # noqa: ANN401
    written: Callable[[object], bytes],
    block_bytes: int,
) -> None:
    spool = spooled(written(body), block_bytes)
    assert (list(spool), spool.next_link) == records_and_next(body)
    assert len(spool) == len(records_and_next(body)[0])


@pytest.mark.parametrize("block_bytes", [1, 30, 1 << 20])
def test_records_have_been_hashed_when_they_came(block_bytes: int) -> None:
    blocks = list(spooled(indented({"data": AWKWARD}), block_bytes).blocks())
    hashed = [block.digests().tolist() for block in blocks]
    assert hashed == [digests_of(block.texts()).tolist() for block in blocks]
    assert sum(map(len, hashed)) == len(AWKWARD)


@pytest.mark.parametrize("count", [40, 20_000])
def test_blocks_may_be_looked_at_by_several_threads_while_more_is_added(count: int) -> None:
    records = [{"n": number} for number in range(count)]
    spool = spooled(compact(records), 100)
    blocks = list(spool.blocks())
    with ThreadPoolExecutor(3) as pool:
        reading = [
            pool.submit(lambda: [orjson.loads(bytes(text)) for block in blocks for text in block.texts()]) for _ in range(2)
        ]
        pool.submit(lambda: [spool.append([{"n": count + number}]) for number in range(200)]).result()
        assert [read.result() for read in reading] == [records, records]
    assert list(spool) == [{"n": number} for number in range(count + 200)]


def test_records_that_are_added_a_few_at_a_time_lie_in_few_blocks() -> None:
    records = [{"n": number} for number in range(100, 200)]
    spool = RecordSpool(block_bytes=100)
    for record in records:
        spool.append([record])
    assert list(spool) == records
    assert [block.count for block in spool.blocks()] == [10] * 10  # nine bytes each, and a comma between two


@pytest.mark.parametrize("body", REPLIES)
@pytest.mark.parametrize("block_bytes", [9, 1 << 20])
def test_a_reply_that_is_cut_at_any_byte_is_an_error_and_never_fewer_records(body: Any, block_bytes: int) -> None:  # noqa: ANN401
    whole = compact(body)
    for length in range(len(whole)):
        with pytest.raises(BrokenReplyError):
            spooled(whole[:length], block_bytes)


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.text(max_size=6),
        st.sampled_from(["},{", "],[", '"', "\\"]),
    ),
    lambda values: st.one_of(st.lists(values, max_size=3), st.dictionaries(st.text(max_size=3), values, max_size=3)),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=4), max_size=8), st.integers(1, 80), st.booleans())
def test_any_records_come_back_as_they_were_sent(records: list[dict[str, Any]], block_bytes: int, is_indented: bool) -> None:
    body = (indented if is_indented else compact)({"data": records})
    assert list(spooled(body, block_bytes)) == records


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b'{"data":[{"a":1}],"x":[}',
        b'{"data":[{"a":1e}]}',
        b'[{"a":1},]',
        b'[{"a":1}{"b":1}]',
        b'[{"a":1}]]',
        b'[{"a":"\xff"}]',
        b'[{"a":"\\ud800"}]',
        b'[{"a":"\x01"}]',
        b"[" * 3000,
        b'[{"a":' + b"[" * 3000 + b"]" * 3000 + b"}]",
    ],
)
@pytest.mark.parametrize("block_bytes", [5, 1 << 20])
def test_what_is_no_json_is_broken(body: bytes, block_bytes: int) -> None:
    with pytest.raises(BrokenReplyError):
        spooled(body, block_bytes)


@pytest.mark.parametrize(
    ("body", "came"),
    [
        (b'[{"a":1},2]', "record 1 of the reply is no object"),
        (b'{"data":[{"a":1},{"b":2},null]}', "record 2 of the reply is no object"),
        (b'{"rows":[]}', "no known envelope: an object {'rows': list}"),
        (b'{"data":{"EQUNR":"1"}}', "an object {'data': dict}"),
        (b"7", "int '7'"),
    ],
)
@pytest.mark.parametrize("block_bytes", [5, 1 << 20])
def test_what_is_no_list_of_records_is_refused_and_described(body: bytes, came: str, block_bytes: int) -> None:
    with pytest.raises(PermanentError) as refusal:
        spooled(body, block_bytes)
    assert came in str(refusal.value)


def test_a_record_larger_than_a_block_is_one_record() -> None:
    records = [{"text": "x" * 500}, {"text": "y" * 500, "parts": [{"z": 1}] * 50}, {}]
    assert list(spooled(compact(records), 16)) == records


def test_of_two_arrays_the_one_that_an_ordinary_reply_would_give_counts() -> None:
    body = b'{"value":[{"a":1}],"data":[{"a":2},{"a":3}]}'
    assert list(spooled(body, 8)) == records_and_next(orjson.loads(body))[0]


def test_records_are_found_by_their_position() -> None:
    spool = spooled(compact(AWKWARD), 20)
    assert [spool[position] for position in range(len(spool))] == AWKWARD
    assert (spool[-1], spool[1:3]) == (AWKWARD[-1], AWKWARD[1:3])


def test_records_that_came_decoded_lie_in_a_spool_too() -> None:
    spool = RecordSpool()
    spool.append(AWKWARD)
    spool.append([])
    spool.append([{"n": number} for number in range(2500)])
    assert list(spool) == [*AWKWARD, *({"n": number} for number in range(2500))]
    assert len(spool) == 2504
