"""A work order ends in the same state whatever order its events arrive in, and says why each field is as it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.event_payloads import Refusal, WorkOrderPayload, read_payload
from cmms_pipelines.domain.work_orders import Change, WorkOrder, WorkOrderEvent, apply

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def event(kind: str, minutes: float = 0, *, has_source_time: bool = True, **payload: object) -> WorkOrderEvent:
    read = read_payload(kind, {"work_order_number": "4000123", **payload})
    assert isinstance(read, WorkOrderPayload)
    return WorkOrderEvent(kind, read, NOON + timedelta(minutes=minutes), has_source_time)


def after(*events: WorkOrderEvent) -> WorkOrder:
    current = None
    for one in events:
        current = apply(current, one).work_order
    assert current is not None
    return current


def last_change(*events: WorkOrderEvent) -> Change:
    return apply(after(*events[:-1]) if events[:-1] else None, events[-1])


def reasons(change: Change) -> dict[str, tuple[bool, str]]:
    return {field.field: (field.is_applied, field.reason) for field in change.fields}


def test_a_created_order_is_open_unless_it_says_otherwise() -> None:
    assert after(event("work_order_created")).values()["status"] == "open"
    assert after(event("work_order_created", status="IN PROGRESS")).values()["status"] == "in_progress"


def test_an_older_statement_is_ignored_field_by_field() -> None:
    change = last_change(event("work_order_updated", 5, title="new"), event("work_order_updated", 1, title="old", priority="1"))
    values = change.work_order.values()
    assert (values["title"], values["priority"]) == ("new", "critical")
    assert reasons(change)["title"] == (False, "older than what the source said at 2026-03-02T12:05:00.000001+00:00")
    assert reasons(change)["priority"] == (True, "first statement of the source")


def test_a_closed_order_is_reopened_by_a_newer_statement_only() -> None:
    closed = event("work_order_closed", 10)
    assert after(closed, event("work_order_updated", 5, status="open")).values()["status"] == "closed"
    change = last_change(closed, event("work_order_updated", 15, status="open"))
    values = change.work_order.values()
    assert (values["status"], values["completed_at"], values["closed_at"]) == ("open", None, None)
    assert reasons(change)["status"] == (True, "reopened at the source")


def test_a_status_without_a_source_time_only_moves_forward() -> None:
    done = event("maintenance_completed", 10)
    backward = last_change(done, event("work_order_updated", 20, status="open", has_source_time=False))
    assert backward.work_order.values()["status"] == "completed"
    assert reasons(backward)["status"] == (False, "without a source time a status only moves forward")
    assert after(done, event("work_order_updated", 20, status="closed", has_source_time=False)).values()["status"] == "closed"


def test_the_times_of_a_life_come_from_its_statuses_and_from_the_source_where_it_gives_them() -> None:
    order = after(
        event("work_order_created", 0),
        event("work_order_updated", 10, status="in_progress"),
        event("work_order_updated", 20, status="on_hold"),
        event("work_order_updated", 30, status="in_progress"),
        event("work_order_updated", 40, status="completed"),
        event("work_order_updated", 50, status="completed"),
        event("work_order_closed", 60),
    )
    values = order.values()
    times = [values[name] for name in ("started_at", "completed_at", "closed_at")]
    assert times == [(NOON + timedelta(minutes=minutes)).isoformat() for minutes in (10, 40, 60)]
    stated = after(event("work_order_closed", 60, completed_at="2026-03-02T09:00:00Z")).values()
    assert stated["completed_at"] == "2026-03-02T09:00:00+00:00"


def test_a_completion_time_of_an_earlier_life_is_forgotten() -> None:
    order = after(
        event("work_order_updated", 10, status="completed", completed_at="2026-03-02T12:09:00Z"),
        event("work_order_updated", 20, status="in_progress"),
        event("work_order_updated", 30, status="completed"),
    )
    assert order.values()["completed_at"] == (NOON + timedelta(minutes=30)).isoformat()


def test_creation_and_update_of_the_same_second_keep_the_update() -> None:
    created, updated = event("work_order_created", title="zz"), event("work_order_updated", title="aa")
    assert after(created, updated).values()["title"] == after(updated, created).values()["title"] == "aa"


def test_null_clears_a_field_and_absence_says_nothing() -> None:
    values = after(
        event("work_order_created", title="A", assigned_to="ann"), event("work_order_updated", 1, assigned_to=None)
    ).values()
    assert (values["title"], values["assignee"]) == ("A", None)


def test_notes_are_only_added() -> None:
    order = after(
        event("work_order_created", notes=["a"]),
        event("work_order_updated", 1, comment="b"),
        event("work_order_updated", 2, notes=["a"]),
    )
    assert order.values()["notes"] == ["a", "b"]


def test_the_sources_own_time_of_change_counts_before_that_of_the_event() -> None:
    payload = read_payload("work_order_updated", {"work_order_id": 7, "updated_at": 1_772_452_800_000})
    assert isinstance(payload, WorkOrderPayload)
    assert payload.updated_at == datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_applying_an_event_leaves_the_given_order_as_it_was() -> None:
    order = after(event("work_order_created", title="A"))
    before = order.values()
    apply(order, event("work_order_updated", 5, title="B", status="closed", notes=["x"]))
    assert order.values() == before


EVENTS = st.lists(
    st.builds(
        event,
        kind=st.sampled_from(
            ["work_order_created", "work_order_updated", "work_order_closed", "maintenance_scheduled", "maintenance_cancelled"]
        ),
        minutes=st.sampled_from([0, 0.00001, 1, 2, 3]),
    ).flatmap(
        lambda bare: st.builds(
            _filled,
            st.just(bare),
            st.dictionaries(
                st.sampled_from(["title", "status", "cost", "notes", "due_date", "completed_at", "equipment_number"]),
                st.integers(0, 2),
            ),
        )
    ),
    min_size=1,
    max_size=7,
)

VALUES: dict[str, list[Any]] = {
    "title": ["a", "b", None],
    "status": ["open", "completed", "in_progress"],
    "cost": [1, "2.50", None],
    "notes": ["one", ["two"], {"at": "2026", "text": "three"}],
    "due_date": ["2026-03-09", 1_772_452_800, None],
    "completed_at": ["2026-03-02T11:00:00Z", "2026-03-02T12:02:00Z", None],
    "equipment_number": ["N526JB", "0010020570", None],
}


def _filled(bare: WorkOrderEvent, chosen: dict[str, int]) -> WorkOrderEvent:
    minutes = (bare.stated_at - NOON) / timedelta(minutes=1)
    return event(bare.event_type, minutes, **{name: VALUES[name][index] for name, index in chosen.items()})


@given(st.data(), EVENTS)
def test_any_interleaving_and_duplication_ends_in_the_same_state(data: st.DataObject, events: list[WorkOrderEvent]) -> None:
    repeated = data.draw(st.lists(st.sampled_from(events), max_size=4))
    shuffled = data.draw(st.permutations([*events, *repeated]))
    one, other = after(*events), after(*shuffled)
    assert one == other
    assert one.values() == other.values()


@given(EVENTS)
def test_applying_an_event_twice_changes_nothing(events: list[WorkOrderEvent]) -> None:
    order = after(*events)
    for one in events:
        again = apply(order, one)
        assert not again.is_new_state
        assert again.work_order == order


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({}, "work_order_number"),
        ({"work_order_number": "1", "status": "exploded"}, "status"),
        ({"work_order_number": "1", "due_date": "soon"}, "due_date"),
        ({"work_order_number": "1", "cost": -1}, "cost"),
        ({"work_order_number": "1", "cost": "NaN"}, "cost"),
        ({"work_order_number": "1", "cost": "1e400"}, "cost"),
        ({"work_order_number": "1", "title": "x" * 300}, "title"),
        ({"work_order_number": "1", "started_at": 10**30}, "started_at"),
        ({"work_order_number": "1", "started_at": True}, "started_at"),
        ({"work_order_number": True}, "work_order_number"),
        ([], "payload"),
    ],
)
def test_a_payload_that_cannot_be_read_names_the_field_and_not_its_value(payload: object, named: str) -> None:
    refusal = read_payload("work_order_created", payload)
    assert isinstance(refusal, Refusal)
    assert refusal.rule == "invalid_payload"
    assert refusal.message.startswith(f"{named}:")
    assert "exploded" not in refusal.message


@pytest.mark.parametrize(
    ("given_name", "given_value", "field", "read"),
    [
        ("work_order_id", "000004000123", "work_order_number", "4000123"),
        ("asset_id", "000000000010020570", "equipment_number", "10020570"),
        ("order_status", "TECO", "status", "completed"),
        ("state", "On Hold", "status", "on_hold"),
        ("priority", 2, "priority", "high"),
        ("priority", "Whenever", "priority", "whenever"),
        ("due_date", "2026-03-09", "due_at", datetime(2026, 3, 9, 23, 59, 59, tzinfo=UTC)),
        ("due_at", "2026-03-09T10:00:00+02:00", "due_at", datetime(2026, 3, 9, 8, tzinfo=UTC)),
        ("assigned_to", " ann ", "assignee", "ann"),
    ],
)
def test_the_spellings_of_senders_are_read(given_name: str, given_value: object, field: str, read: object) -> None:
    payload = read_payload(
        "work_order_updated", {**({} if field == "work_order_number" else {"work_order_number": "1"}), given_name: given_value}
    )
    assert isinstance(payload, WorkOrderPayload)
    assert getattr(payload, field) == read
