"""The canonical event: what is read, what is refused and why, and under which keys it is ordered and de-duplicated."""

import datetime as dt
import gc
import hashlib
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.events import (
    CanonicalEvent,
    EventType,
    HookStatus,
    canonical_number,
    dedup_key,
    entity_key,
    parse_event,
)
from cmms_pipelines.domain.strict_json import BodyRefusal

AT = dt.datetime(2026, 3, 1, 8, 30, tzinfo=dt.UTC)


def body(**changes: object) -> bytes:
    event = {"event_type": "work_order_updated", "timestamp": "2026-03-01T08:30:00Z", "payload": {}}
    return json.dumps(event | changes).encode()


def with_payload(raw: bytes) -> bytes:
    return b'{"event_type":"work_order_updated","timestamp":"2026-03-01T08:30:00Z","payload":{"a":' + raw + b"}}"


def rule_of(raw: bytes) -> str:
    answer = parse_event(raw)
    return answer.rule if isinstance(answer, BodyRefusal) else "accepted"


def event(event_type: str = "work_order_updated", event_id: str | None = None, **payload: object) -> CanonicalEvent:
    return CanonicalEvent(event_type, AT, payload, None, event_id)


def test_an_event_is_read_with_its_time_in_utc() -> None:
    raw = body(cmms_system_id="plant-cmms", event_id="e1", timestamp="2026-03-01T10:30:00.5+02:00", payload={"a": [1, 2.5, None]})
    assert parse_event(raw) == CanonicalEvent(
        "work_order_updated", AT + dt.timedelta(milliseconds=500), {"a": [1, 2.5, None]}, "plant-cmms", "e1"
    )


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        (b"", "empty_body"),
        (b"  ", "empty_body"),
        (b"{", "invalid_json"),
        (body() + b"x", "invalid_json"),
        (b"\xef\xbb\xbf" + body(), "byte_order_mark"),
        (with_payload(b'"\xff"'), "invalid_utf8"),
        (with_payload(b'"\xed\xa0\x80"'), "invalid_utf8"),
        ('{"a":1}'.encode("utf-16"), "invalid_utf8"),
        ('{"a":1}'.encode("utf-16-le"), "invalid_json"),
        (with_payload(b'{"b":1,"b":1}'), "duplicate_key"),
        (with_payload(b'{"b":1,"\\u0062":2}'), "duplicate_key"),
        (with_payload(b"NaN"), "not_a_number"),
        (with_payload(b"-Infinity"), "not_a_number"),
        (with_payload(b"1e400"), "number_too_big"),
        (with_payload(b"9223372036854775808"), "number_too_big"),
        (with_payload(b"9" * 65), "number_too_long"),
        (with_payload(b"0." + b"1" * 5000), "number_too_long"),
        (with_payload(b"01"), "invalid_json"),
        (with_payload(b'"\\u0000"'), "nul_character"),
        (with_payload(b'{"\\u0000":1}'), "nul_character"),
        (with_payload(b'"\x00"'), "invalid_json"),
        (with_payload(b'"\\ud800"'), "lone_surrogate"),
        (with_payload(b'["x", {"b": "\\udc00\\ud800"}]'), "lone_surrogate"),
        (with_payload(b"[" * 31 + b"]" * 31), "nested_too_deep"),
        (b"[" * 500_000, "nested_too_deep"),
        (b'{"a":' * 100_000, "nested_too_deep"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        (body(event_type=None), "invalid_event_type"),
        (body(event_type="x" * 51), "invalid_event_type"),
        (body(event_type="a\nb"), "invalid_event_type"),
        (body(payload=[]), "invalid_payload"),
        (body(timestamp=None), "invalid_timestamp"),
        (body(timestamp=1772354400), "invalid_timestamp"),
        (body(timestamp="2026-02-30T00:00:00Z"), "invalid_timestamp"),
        (body(timestamp="0001-01-01T00:00:00+14:00"), "invalid_timestamp"),
        (body(timestamp="2026-03-01"), "invalid_timestamp"),
        (body(timestamp="2026-03-01T08:30:00"), "naive_timestamp"),
        (body(cmms_system_id=7), "invalid_system"),
        (body(cmms_system_id="a/b"), "invalid_system"),
        (body(event_id=""), "invalid_event_id"),
        (body(event_id="x" * 201), "invalid_event_id"),
        (body(event_id="a\u0007"), "invalid_event_id"),
        (body(event_id=True), "invalid_event_id"),
        (body(event_id={"a": 1}), "invalid_event_id"),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused_with_it(raw: bytes, rule: str) -> None:
    assert rule_of(raw) == rule


@pytest.mark.parametrize(
    "raw",
    [
        with_payload(b"[" * 30 + b"]" * 30),
        with_payload(b'"' + b"[{" * 100 + b'"'),
        with_payload(b'"\\"' + b"[{" * 100 + b'"'),
        with_payload(b'"\\ud83d\\ude00 \\\\u0000"'),
        with_payload(b"[-9223372036854775808, 9223372036854775807, 1.5e308, 1e-400]"),
        body(event_id=48213),
        body(timestamp="2026-03-01t08:30:00.123456789z"),
    ],
)
def test_what_only_looks_wrong_is_accepted(raw: bytes) -> None:
    assert rule_of(raw) == "accepted"


def test_a_refusal_says_where() -> None:
    answer = parse_event(with_payload(b'[0, {"b": "\\ud800"}]'))
    assert isinstance(answer, BodyRefusal)
    assert answer.where == "/payload/a/1/b"


def seconds_judging(raw: bytes) -> float:
    """The least that it takes this thread, of a few times: what other tests left running, or behind, does not count."""
    found = []
    gc.disable()  # it goes through all that other tests left behind, the oftener the more is made here
    try:
        for _ in range(3):
            started = time.thread_time()
            assert rule_of(raw) != "accepted"
            found.append(time.thread_time() - started)
    finally:
        gc.enable()
    return min(found)


@pytest.mark.parametrize(
    "hostile",
    [
        lambda size: b"{" * 40 + b'"' + b'\\"' * (size // 2),
        lambda size: b"[" + b"[]," * (size // 3) + b"1]",
        lambda size: b'"' * size,
    ],
    ids=["a string of quotes", "empty arrays", "quotes"],
)
def test_a_hostile_megabyte_is_judged_in_linear_time(hostile: Callable[[int], bytes]) -> None:
    eighth, whole = (seconds_judging(hostile(size)) for size in (125_000, 1_000_000))
    assert whole < 24 * eighth + 0.05, (eighth, whole)  # eight times as long if linear, 64 times if quadratic


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(parse_event(raw), BodyRefusal)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=20,
    )
)
def test_a_payload_comes_back_as_it_was_or_is_refused_for_its_text(value: object) -> None:
    answer = parse_event(body(payload={"value": value}))
    if isinstance(answer, BodyRefusal):
        assert answer.rule in {"nul_character", "lone_surrogate"}
    else:
        assert answer.payload == {"value": value}


def test_unknown_event_types_are_events_that_are_held() -> None:
    answer = parse_event(body(event_type="WORK_ORDER_STATUS_CHANGE"))
    assert isinstance(answer, CanonicalEvent)
    assert not answer.is_known
    assert answer.first_status is HookStatus.HELD
    assert all(event(known).first_status is HookStatus.PENDING for known in EventType)


@pytest.mark.parametrize(
    ("given_event", "key"),
    [
        (event(work_order_number="000004711", equipment_number="N355NB"), "work_order:4711"),
        (event("meter_reading_recorded", work_order_number="1", equipment_number="000000000010020570"), "equipment:10020570"),
        (event("asset_updated", equipment_number=" N355NB "), "equipment:N355NB"),
        (event("equipment_failure", equipment_number=10020570), "equipment:10020570"),
        (event("inspection_due", work_order_number="", equipment_number="0"), "equipment:0"),
        (event(event_id="e1"), "event:e1"),
        (event(work_order_number=True, event_id="e2"), "event:e2"),
        (event(), "event:work_order_updated@2026-03-01T08:30:00+00:00"),
    ],
)
def test_events_are_ordered_by_the_entity_they_are_about(given_event: CanonicalEvent, key: str) -> None:
    assert entity_key(given_event) == key


def test_a_number_without_end_still_makes_a_key_that_fits() -> None:
    assert len(entity_key(event(work_order_number="x" * 1000))) < 300
    assert canonical_number("x" * 1000) != canonical_number("x" * 1001)


def test_the_signed_message_id_then_the_event_id_then_the_body_tells_deliveries_apart() -> None:
    digest = hashlib.sha256(b"body").digest()
    assert dedup_key(event(event_id="e1"), digest, "msg_1") == "id:msg_1"
    assert dedup_key(event(event_id="e1"), digest) == "id:e1"
    assert dedup_key(event(), digest) == f"sha256:{digest.hex()}"
