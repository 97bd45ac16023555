"""What holds for every merge: it commutes, it is idempotent, it can be undone, and it loses nothing silently."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from cmms_pipelines.domain.comparing import compared_form, kind_of
from cmms_pipelines.domain.conflict_cases import Base, Case, Delivery, Operation, Side, Verdict
from cmms_pipelines.domain.conflict_policy import DEFAULT_POLICY
from cmms_pipelines.domain.conflicts import merge, undo
from tests.domain.conflict_world import NOON, minutes

WORDS = st.sampled_from(["a", "b", "c", "B ", "LOTO", ""])
STATUSES = st.sampled_from(
    ["requested", "open", "scheduled", "in_progress", "on_hold", "completed", "closed", "cancelled", "TECO"]
)
NOTES = st.lists(
    st.fixed_dictionaries({"at": st.sampled_from(["2026-03-01", "2026-03-02"]), "text": st.sampled_from("xyz")}), max_size=3
)
FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "status": STATUSES,
    "priority": st.sampled_from(["low", "high", 1, None]),
    "title": WORDS,
    "description": WORDS,
    "assignee": st.one_of(WORDS, st.none()),
    "due_at": st.sampled_from(["2026-03-09", "2026-03-09T23:59:59Z", "2026-03-10T01:00:00+02:00", None]),
    "completed_at": st.sampled_from(["2026-03-02T12:00:00Z", "2026-03-02T13:00:00+01:00", "2026-03-03T00:00:00Z", None]),
    "cost": st.sampled_from(["1.00", 1, "2.50", None]),
    "currency": st.sampled_from(["EUR", "USD", None]),
    "parts": st.lists(st.sampled_from(["seal", "bolt", "belt"]), max_size=4),
    "tags": st.lists(st.sampled_from(["oil", "audit", "lockout"]), max_size=3, unique=True),
    "notes": NOTES,
    "equipment_number": st.sampled_from(["1", "0001", "2"]),
    "plant_code": st.sampled_from(["WD10", "WD20"]),
    "attributes.LOTO": st.sampled_from(["locked", "released", None]),
    "attributes.X": st.sampled_from([1, "1", 1.0, "1.10", "1.1", True, None]),
}
PARTIAL = st.fixed_dictionaries({}, optional=dict(FIELDS))
WHOLE = st.fixed_dictionaries(dict(FIELDS))
SOME = settings(max_examples=40)  # a case is large; a run of 700 of each is the same program with another number
OFFSETS = st.one_of(st.none(), st.integers(-20, 40))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any two sides of a work order, with or without a base, clocks and numbers."""
    agreed: dict[str, JsonValue] = draw(WHOLE)
    ours = agreed | draw(PARTIAL)
    theirs = draw(PARTIAL)
    here_at, there_at = draw(OFFSETS), draw(OFFSETS)
    base = Base(agreed, dict.fromkeys(agreed, NOON), dict.fromkeys(agreed, 5) if draw(st.booleans()) else {})
    return Case(
        "work_order",
        base if draw(st.integers(0, 4)) else None,
        Side(ours, dict.fromkeys(ours, None if here_at is None else minutes(here_at)), clock_is_trusted=draw(st.booleans())),
        Side(theirs, dict.fromkeys(theirs, None if there_at is None else minutes(there_at))),
        operation=draw(st.sampled_from([Operation.CHANGE, Operation.CHANGE, Operation.CREATE, Operation.DELETE])),
        delivery=Delivery(sequence=draw(st.one_of(st.none(), st.integers(3, 7)))),
        claims={"sap": {"title": "c"}} if draw(st.integers(0, 9)) == 0 else {},
    )


def form(name: str, value: JsonValue) -> JsonValue:
    return compared_form(kind_of(name), value)


def forms(values: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    return {name: form(name, value) for name, value in values.items() if form(name, value) is not None}


@SOME
@given(cases())
def test_merging_again_changes_nothing(case: Case) -> None:
    first = merge(case, DEFAULT_POLICY)
    again = merge(replace(case, base=first.base, ours=replace(case.ours, values=first.values)), DEFAULT_POLICY)
    assert again.values == first.values
    assert again.base.values == first.base.values
    assert {one.field for one in again.escalated} == {one.field for one in first.escalated}


@SOME
@given(cases())
def test_every_value_of_either_side_is_in_the_result_or_in_a_decision(case: Case) -> None:
    result = merge(case, DEFAULT_POLICY)
    agreed = case.base.values if case.base else {}
    for name in {*case.ours.values, *case.theirs.values}:
        decision = result.decision(name)
        for side in (case.ours, case.theirs):
            value = side.values.get(name)
            if name not in side.values or form(name, value) == form(name, agreed.get(name)):
                continue
            kept = [result.values.get(name)] + ([decision.ours, decision.theirs] if decision else [])
            if isinstance(value, list):
                assert pieces(name, value) <= set().union(*(pieces(name, one) for one in kept))
            else:
                assert form(name, value) in [form(name, one) for one in kept]


def pieces(name: str, value: JsonValue) -> set[str]:
    return {json.dumps(form(name, [item]), sort_keys=True) for item in value} if isinstance(value, list) else set()


@SOME
@given(cases())
def test_an_undo_restores_our_side(case: Case) -> None:
    result = merge(case, DEFAULT_POLICY)
    assert forms(undo(result.values, result.decisions)) == forms(case.ours.values) | {
        name: value
        for name, value in forms(result.values).items()
        if name not in case.ours.values and result.decision(name) is None
    }


@SOME
@given(cases())
def test_a_field_that_waits_keeps_our_value_and_a_safety_field_is_never_decided(case: Case) -> None:
    result = merge(case, DEFAULT_POLICY)
    for decision in result.escalated:
        assert result.values[decision.field] == case.ours.values.get(decision.field)
    for decision in result.conflicts:
        assert decision.field != "attributes.LOTO" or decision.verdict is Verdict.ESCALATED


@SOME
@given(WHOLE, PARTIAL, PARTIAL)
def test_changes_of_different_fields_commute(
    agreed: dict[str, JsonValue], one: dict[str, JsonValue], other: dict[str, JsonValue]
) -> None:
    together = {"status": "status", "completed_at": "status", "currency": "cost", "plant_code": "equipment_number"}
    taken = {together.get(name, name) for name in one}
    rest = {
        name: value
        for name, value in other.items()
        if together.get(name, name) not in taken and not is_cleared_safety(name, value)
    }
    one = {name: value for name, value in one.items() if not is_cleared_safety(name, value)}
    base = Base(agreed, dict.fromkeys(agreed, NOON))

    def result(here: Mapping[str, JsonValue], there: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        side = Side({**agreed, **here}, dict.fromkeys(here, minutes(9)))
        merged = merge(Case("work_order", base, side, Side(there, dict.fromkeys(there, minutes(20)))), DEFAULT_POLICY)
        assert merged.escalated == ()
        return forms(merged.values)

    without_notes = [{name: value for name, value in part.items() if name != "notes"} for part in (one, rest)]
    assert result(*without_notes) == result(*reversed(without_notes))


def is_cleared_safety(name: str, value: JsonValue) -> bool:
    return name == "attributes.LOTO" and value is None


EVENTS = st.lists(st.tuples(PARTIAL, st.integers(0, 3)), min_size=1, max_size=4)


@SOME
@given(EVENTS, st.data())
def test_any_order_and_repetition_of_a_sources_statements_ends_in_the_same_state(
    drawn: list[tuple[dict[str, JsonValue], int]], data: st.DataObject
) -> None:
    """Each statement gives fields that no other has given before: a source's own newest word is what registers keep."""
    agreed: dict[str, JsonValue] = dict.fromkeys(FIELDS)
    ours = {**agreed, "description": "ours", "assignee": "S", "tags": ["oil"]}
    statements: list[tuple[dict[str, JsonValue], datetime]] = []
    said: set[str] = set()
    for number, (stated, _) in enumerate(drawn):
        fields = {name: value for name, value in stated.items() if name not in said | {"plant_code", "currency", "completed_at"}}
        said |= fields.keys()
        statements.append((fields, minutes(10 * number)))
    repeated = [one for one, (_, times) in zip(statements, drawn, strict=True) for _ in range(1 + times % 2)]
    shuffled: Sequence[tuple[dict[str, JsonValue], datetime]] = data.draw(st.permutations(repeated))
    ends = []
    for order in (statements, shuffled):
        base, values = Base(agreed, dict.fromkeys(agreed, minutes(-60))), dict(ours)
        for stated, at in order:
            mine = Side(values, dict.fromkeys(("description", "assignee", "tags"), minutes(7)))
            result = merge(Case("work_order", base, mine, Side(stated, dict.fromkeys(stated, at))), DEFAULT_POLICY)
            base, values = result.base, dict(result.values)
        ends.append((forms(values), forms(base.values)))
    assert ends[0] == ends[1]


GROUPED = frozenset(("status", "started_at", "completed_at", "closed_at", "cost", "currency", "equipment_number", "plant_code"))
ADDED_TO = frozenset(("notes",))


@SOME
@given(EVENTS, st.data())
def test_of_a_field_that_nobody_edits_here_the_sources_newest_word_stands_in_any_order_and_repetition(
    drawn: list[tuple[dict[str, JsonValue], int]], data: st.DataObject
) -> None:
    """Statements of the same fields overtake each other, and come again after newer ones."""
    statements = [
        (
            {
                name: value
                for name, value in stated.items()
                if name not in GROUPED | ADDED_TO and not is_cleared_safety(name, value)
            },
            minutes(10 * number),
        )
        for number, (stated, _) in enumerate(drawn)
    ]
    repeated = [one for one, (_, times) in zip(statements, drawn, strict=True) for _ in range(1 + times % 2)]
    agreed: dict[str, JsonValue] = dict.fromkeys(FIELDS)
    base, values = Base(agreed, dict.fromkeys(agreed, minutes(-60))), dict(agreed)
    for stated, at in data.draw(st.permutations(repeated)):
        case = Case("work_order", base, Side(values), Side(stated, dict.fromkeys(stated, at)))
        result = merge(case, DEFAULT_POLICY)
        base, values = result.base, dict(result.values)
    newest = {name: value for stated, _ in statements for name, value in stated.items()}
    assert forms(values) == forms({**agreed, **newest})
