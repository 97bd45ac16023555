"""Failures, inspections and items of a plan end in the same state whatever order their events arrive in."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmms_pipelines.domain.event_payloads import Refusal, read_payload
from cmms_pipelines.domain.failures import FAILURES
from cmms_pipelines.domain.inspections import INSPECTIONS
from cmms_pipelines.domain.maintenance_payloads import FailurePayload, InspectionPayload, SchedulePayload
from cmms_pipelines.domain.schedules import SCHEDULES
from cmms_pipelines.domain.told import Change, Family, Statement, Told, apply

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
FAMILIES = {FailurePayload: FAILURES, InspectionPayload: INSPECTIONS, SchedulePayload: SCHEDULES}


def statement(kind: str, minutes: float = 0, *, has_source_time: bool = True, **payload: Any) -> Statement:  # noqa: ANN401 - any payload
    read = read_payload(kind, payload)
    assert isinstance(read, FailurePayload | InspectionPayload | SchedulePayload), read
    return Statement(kind, read, NOON + timedelta(minutes=minutes), has_source_time)


def family_of(one: Statement) -> Family:
    return FAMILIES[type(one.payload)]


def after(*statements: Statement) -> Told:
    current = None
    for one in statements:
        current = apply(current, one, family_of(one)).told
    assert current is not None
    return current


def values(*statements: Statement) -> dict[str, Any]:
    return family_of(statements[0]).values(after(*statements))


def last_change(*statements: Statement) -> Change:
    return apply(after(*statements[:-1]) if statements[:-1] else None, statements[-1], family_of(statements[-1]))


def at(minutes: float) -> str:
    return (NOON + timedelta(minutes=minutes)).isoformat()


def failure(minutes: float = 0, **payload: Any) -> Statement:  # noqa: ANN401 - any payload
    return statement("equipment_failure", minutes, **{"failure_number": "7", "equipment_number": "N526JB", **payload})


def due(minutes: float = 0, **payload: Any) -> Statement:  # noqa: ANN401 - any payload
    return statement("inspection_due", minutes, **{"inspection_number": "9", "equipment_number": "N526JB", **payload})


def done(minutes: float = 0, **payload: Any) -> Statement:  # noqa: ANN401 - any payload
    return statement("inspection_completed", minutes, **{"inspection_number": "9", **payload})


def item(kind: str, minutes: float = 0, *, has_source_time: bool = True, **payload: Any) -> Statement:  # noqa: ANN401 - any payload
    given = {"item_number": "MP-77-3", **payload}
    return statement(f"maintenance_{kind}", minutes, has_source_time=has_source_time, **given)


def test_a_failure_is_open_until_it_is_repaired_and_began_when_it_was_first_told_of() -> None:
    assert values(failure(5), failure(2))["status"] == "open"
    assert values(failure(5), failure(2))["failed_at"] == at(2)
    repaired = values(failure(failed_at="2026-03-02T06:40:00Z"), failure(9, repaired_at="2026-03-02T12:08:00Z"))
    assert (repaired["status"], repaired["failed_at"]) == ("repaired", "2026-03-02T06:40:00+00:00")


def test_downtime_is_kept_in_hours_and_severity_in_our_words() -> None:
    told = values(failure(downtime=90, unit="min", severity="Major", failure_code="HYD-LEAK", damage="seal", cause="wear"))
    assert (told["downtime_hours"], told["severity"], told["failure_code"]) == ("1.5000", "high", "HYD-LEAK")
    assert (told["damage"], told["cause"]) == ("seal", "wear")


def test_a_failure_without_a_number_is_known_by_its_machine_and_time() -> None:
    one = statement("equipment_failure", equipment_number="000010020570", failed_at="2026-03-02T08:40:00+02:00")
    again = statement("equipment_failure", 60, asset_id=10020570, failed_at="2026-03-02T06:40:00Z")
    assert FAILURES.key_of(one) == FAILURES.key_of(again) == "10020570@2026-03-02T06:40:00+00:00"


def test_a_failure_is_partial_until_its_machine_is_named() -> None:
    repaired = statement("equipment_failure", 9, failure_number="7", repaired_at=at(8))
    assert values(repaired)["is_partial"]
    assert not values(repaired, failure(0))["is_partial"]
    assert values(repaired, failure(0))["status"] == "repaired"


def test_a_stale_older_event_is_ignored_field_by_field() -> None:
    change = last_change(failure(5, severity="low"), failure(1, severity="high", cause="wear"))
    told = FAILURES.values(change.told)
    assert (told["severity"], told["cause"]) == ("low", "wear")
    assert {one.field: one.is_applied for one in change.fields} == {"severity": False, "cause": True}


def test_an_inspection_completed_before_it_is_due_is_partial_until_the_due_event_completes_it() -> None:
    early = values(done(10, result="OK", findings="worn belt", inspector="ann", next_due_date="2026-09-09"))
    assert (early["status"], early["is_partial"], early["completed_at"]) == ("completed", True, at(10))
    assert (early["result"], early["findings"], early["next_due_at"]) == ("passed", ["worn belt"], "2026-09-09T23:59:59+00:00")
    whole = values(done(10), due(0, due_date="2026-03-09", type="safety"))
    assert (whole["status"], whole["is_partial"], whole["due_at"]) == ("completed", False, "2026-03-09T23:59:59+00:00")


def test_a_reminder_after_completion_does_not_make_an_inspection_due_again() -> None:
    assert values(due(0), done(10), due(20, priority=1))["status"] == "completed"
    assert values(due(0), done(10), due(20, priority=1))["priority"] == "critical"


def test_an_inspection_without_a_number_is_known_by_machine_type_and_day() -> None:
    announced = statement("inspection_due", equipment_number="N1", type="safety", due_date="2026-03-09")
    finished = statement("inspection_completed", 99, equipment_number="N1", type="safety", due_date="2026-03-09", result="failed")
    assert INSPECTIONS.key_of(announced) == INSPECTIONS.key_of(finished) == "N1|safety|2026-03-09"
    unannounced = statement("inspection_completed", equipment_number="N1", type="safety", completed_at="2026-03-01T10:00:00Z")
    assert INSPECTIONS.key_of(unannounced) == "N1|safety|2026-03-01"


def test_an_item_of_a_plan_stands_where_the_newest_event_put_it() -> None:
    assert values(item("scheduled"), item("completed", 5))["status"] == "completed"
    cancelled = values(item("cancelled", 5, reason="sold"), item("scheduled"))
    assert (cancelled["status"], cancelled["cancelled_at"], cancelled["cancelled_because"]) == ("cancelled", at(5), "sold")
    again = values(item("scheduled"), item("cancelled", 5), item("scheduled", 9, scheduled_date="2026-03-20"))
    assert (again["status"], again["cancelled_at"], again["scheduled_at"]) == ("scheduled", None, "2026-03-20T00:00:00+00:00")


def test_an_item_without_a_source_time_is_not_scheduled_again() -> None:
    late = item("scheduled", 9, has_source_time=False)
    assert values(item("completed", 5), late)["status"] == values(late, item("completed", 5))["status"] == "completed"
    assert values(late)["status"] == "scheduled"


def test_an_item_that_was_never_scheduled_is_partial() -> None:
    assert values(item("cancelled"))["is_partial"]
    assert not values(item("cancelled", 5), item("scheduled"))["is_partial"]


def test_an_item_without_a_number_is_known_by_machine_plan_or_task_and_day() -> None:
    by_plan = statement("maintenance_scheduled", equipment_number="N1", plan="MP-7", task="oil", scheduled_date="2026-03-09")
    by_task = statement("maintenance_completed", equipment_number="N1", task="oil", due_date="2026-03-09")
    assert SCHEDULES.key_of(by_plan) == "N1|MP-7|2026-03-09"
    assert SCHEDULES.key_of(by_task) == "N1|oil|2026-03-09"


def test_the_hours_that_an_item_should_take_are_read_in_their_unit() -> None:
    assert values(item("scheduled", estimated_duration=5400, unit="s"))["estimated_hours"] == "1.5000"


@pytest.mark.parametrize(
    ("kind", "payload", "named"),
    [
        ("equipment_failure", {"severity": "high"}, "a failure names its number or its machine"),
        ("equipment_failure", {"failure_number": "7", "downtime": -1}, "downtime:"),
        ("equipment_failure", {"failure_number": "7", "downtime": 1, "unit": "fortnight"}, "unit:"),
        (
            "equipment_failure",
            {"failure_number": "7", "failed_at": at(5), "repaired_at": at(1)},
            "repaired_at is before failed_at",
        ),
        ("inspection_due", {"type": "safety"}, "an inspection names its number or its machine"),
        ("inspection_completed", {"inspection_number": "9", "result": "exploded"}, "result:"),
        ("maintenance_scheduled", {"equipment_number": "N1", "task": "oil"}, "names no work order, and no item of a plan"),
        ("maintenance_cancelled", {}, "names no work order, and no item of a plan"),
    ],
)
def test_a_payload_that_cannot_be_used_says_why_and_not_its_value(kind: str, payload: object, named: str) -> None:
    refusal = read_payload(kind, payload)
    assert isinstance(refusal, Refusal)
    assert refusal.rule == "invalid_payload"
    assert named in refusal.message
    assert "exploded" not in refusal.message
    assert "fortnight" not in refusal.message


def test_maintenance_of_a_work_order_is_about_the_order() -> None:
    assert not isinstance(
        read_payload("maintenance_completed", {"work_order_id": 7, "item_number": "MP-77-3"}), SchedulePayload | Refusal
    )


FIELDS: dict[str, dict[str, list[Any]]] = {
    "failure": {
        "severity": ["high", "low", None],
        "failed_at": [at(-60), at(-30), None],
        "repaired_at": [at(5), None],
        "downtime": [1, 90],
        "equipment_number": ["N1", "N2", None],
        "updated_at": [at(0), at(1)],
    },
    "inspection": {"result": ["ok", "failed", None], "completed_at": [at(1), at(2), None], "findings": ["a", ["a", "b"], None]},
    "item": {"scheduled_date": ["2026-03-09", "2026-03-10"], "completed_at": [at(1), None], "reason": ["sold", None]},
}
KINDS = {
    "failure": [("equipment_failure", {"failure_number": "7"})],
    "inspection": [("inspection_due", {"inspection_number": "9"}), ("inspection_completed", {"inspection_number": "9"})],
    "item": [(f"maintenance_{kind}", {"item_number": "3"}) for kind in ("scheduled", "completed", "cancelled")],
}


def statements_of(name: str) -> st.SearchStrategy[list[Statement]]:
    filled = st.fixed_dictionaries({}, optional={field: st.sampled_from(given) for field, given in FIELDS[name].items()})

    def build(kind: tuple[str, dict[str, str]], minutes: float, fields: dict[str, Any]) -> Statement:
        given: dict[str, Any] = {**kind[1], **fields}
        return statement(kind[0], minutes, **given)

    one = st.builds(build, st.sampled_from(KINDS[name]), st.sampled_from([0, 0.00001, 1, 2, 3]), filled)
    return st.lists(one, min_size=1, max_size=6)


@pytest.mark.parametrize("name", list(KINDS))
@given(data=st.data())
def test_any_interleaving_and_duplication_ends_in_the_same_state(name: str, data: st.DataObject) -> None:
    told: Sequence[Statement] = data.draw(statements_of(name))
    repeated = data.draw(st.lists(st.sampled_from(told), max_size=3))
    shuffled = data.draw(st.permutations([*told, *repeated]))
    assert after(*told) == after(*shuffled)
    assert values(*told) == values(*shuffled)
    for one in told:
        again = apply(after(*shuffled), one, family_of(one))
        assert not again.is_new_state
        assert not any(field.is_applied for field in again.fields)
