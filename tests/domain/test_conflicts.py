"""What becomes of a field that both sides have changed: the case table, row by row."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Base, Delivery, Operation, Rule, Side, Verdict
from cmms_pipelines.domain.conflict_policy import DEFAULT_POLICY, ConflictPolicy, FieldRule, Strategy
from cmms_pipelines.domain.conflicts import fingerprint, fingerprint_of_field, merge, undo
from cmms_pipelines.domain.counters import CounterFacts
from tests.domain.conflict_world import NOON, case, fate, merged, minutes, of

TAKEN, KEPT, MERGED, ESCALATED = Verdict.TAKEN, Verdict.KEPT, Verdict.MERGED, Verdict.ESCALATED
CONVERGED, IGNORED = Verdict.CONVERGED, Verdict.IGNORED


def test_changes_of_different_fields_both_stand() -> None:
    result = merged({"title": "A", "priority": "low"}, {"title": "B"}, {"priority": "high"})
    assert result.values == {"title": "B", "priority": "high"}
    assert (fate(result, "title"), fate(result, "priority")) == ((KEPT, "B", Rule.ONE_SIDE), (TAKEN, "high", Rule.ONE_SIDE))
    assert result.conflicts == ()


def test_the_same_value_on_both_sides_converges() -> None:
    assert fate(merged({"title": "A"}, {"title": "B"}, {"title": "B"}), "title") == (CONVERGED, "B", Rule.SAME)


@pytest.mark.parametrize(
    ("entity_type", "field", "base", "here", "there"),
    [
        ("meter", "running_hours", 1, 8, "480 min"),
        ("meter", "running_hours", 1, "8.0", {"value": 28800, "unit": "s"}),
        ("work_order", "scheduled_at", None, "2026-03-02T12:00:00+00:00", "2026-03-02T17:30:00+05:30"),
        ("work_order", "due_at", None, "2026-03-09T23:59:59+00:00", "2026-03-09"),
        ("work_order", "status", "open", "completed", "TECO"),
        ("work_order", "priority", "low", "critical", 1),
        ("work_order", "cost", None, "1250.50", "1,250.5"),
        ("work_order", "parts", [], ["seal", "bolt"], ["bolt", "seal"]),
        ("work_order", "description", "x", "two\nlines", "two  \r\nlines "),
    ],
)
def test_another_unit_zone_spelling_or_order_is_no_conflict_and_nothing_is_written(
    entity_type: str, field: str, base: JsonValue, here: JsonValue, there: JsonValue
) -> None:
    result = merged({field: base}, {field: here}, {field: there}, entity_type=entity_type)
    assert fate(result, field) == (CONVERGED, here, Rule.SPELLING)
    assert result.values == {field: here}


def test_a_statement_in_another_spelling_of_what_was_agreed_says_nothing() -> None:
    result = merged({"status": "completed", "title": "A"}, {"title": "B"}, {"status": "TECO"})
    assert (result.values, [one.field for one in result.decisions]) == ({"status": "completed", "title": "B"}, ["title"])


def test_an_echo_of_our_write_is_dropped_even_if_we_have_edited_since() -> None:
    own = Delivery(own_writes=frozenset((fingerprint_of_field("work_order", "title", "ours, first"),)))
    result = merged({"title": "A"}, {"title": "ours, second"}, {"title": "ours, first"}, delivery=own)
    assert fate(result, "title") == (IGNORED, "ours, second", Rule.ECHO)
    assert result.base.values["title"] == "ours, first"
    by_id = merged({"title": "A"}, {"title": "B"}, {"title": "C"}, delivery=Delivery(id="w1", own_ids=frozenset(("w1",))))
    assert (by_id.is_dropped, by_id.values, fate(by_id, "title")) == (True, {"title": "B"}, (IGNORED, "B", Rule.ECHO))


def test_a_redelivery_under_a_new_id_is_dropped() -> None:
    mark = fingerprint("work_order", {"status": "TECO", "assignee": "Ortiz"}, minutes(5))
    assert mark == fingerprint("work_order", {"assignee": "Ortiz ", "status": "completed"}, minutes(5))
    delivery = Delivery(id="new", fingerprint=mark, seen_fingerprints=frozenset((mark,)), seen_ids=frozenset(("old",)))
    result = merged({"assignee": "Weber"}, {"assignee": "Stone"}, {"assignee": "Ortiz"}, delivery=delivery)
    assert (result.is_dropped, result.values) == (True, {"assignee": "Stone"})
    assert merged({"title": "A"}, {}, {"title": "B"}, delivery=replace(delivery, fingerprint="other")).values == {"title": "B"}


def test_a_late_older_event_is_ignored_field_by_field() -> None:
    late = case({"title": "A", "priority": "low"}, {}, {"title": "old", "priority": "high"}, there_at=-10)
    times = {"title": NOON, "priority": minutes(-20)}
    result = merge(replace(late, base=Base({"title": "A", "priority": "low"}, times)), DEFAULT_POLICY)
    assert fate(result, "title") == (IGNORED, "A", Rule.STALE)
    assert fate(result, "priority") == (TAKEN, "high", Rule.ONE_SIDE)


def test_the_sources_numbers_go_before_its_times() -> None:
    known = Base({"title": "A"}, {"title": NOON}, {"title": 7})
    older = replace(case({"title": "A"}, {}, {"title": "B"}, delivery=Delivery(sequence=6)), base=known)
    newer = replace(case({"title": "A"}, {}, {"title": "B"}, there_at=-5, delivery=Delivery(sequence=8)), base=known)
    assert fate(merge(older, DEFAULT_POLICY), "title") == (IGNORED, "A", Rule.STALE)
    assert fate(merge(newer, DEFAULT_POLICY), "title") == (TAKEN, "B", Rule.ONE_SIDE)


def test_created_after_updated_fills_what_the_update_left_open() -> None:
    result = merged({"title": "later"}, {}, {"title": "first", "description": "all"}, there_at=-5, operation=Operation.CREATE)
    assert result.values == {"title": "later", "description": "all"}


@pytest.mark.parametrize(
    ("base", "here", "there", "stands"),
    [
        ("open", "in_progress", "completed", "completed"),
        ("open", "completed", "IN PROGRESS", "completed"),
        ("scheduled", "closed", "TECO", "closed"),
        ("in_progress", "completed", "on_hold", "completed"),
        ("open", "in_progress", "on_hold", "on_hold"),  # side by side: the CMMS has authority
        ("open", "scheduled", "cancelled", "cancelled"),
        ("requested", "cancelled", "open", "open"),
        ("cancelled", "in_progress", "open", "in_progress"),
    ],
)
def test_status_forward_on_both_sides_ends_in_the_further_state(base: str, here: str, there: str, stands: str) -> None:
    result = merged({"status": base}, {"status": here}, {"status": there})
    assert (result.values["status"], result.escalated) == (stands, ())


@pytest.mark.parametrize(
    ("base", "here", "there"),
    [
        ("open", "completed", "cancelled"),
        ("in_progress", "closed", "canceled"),
        ("open", "in_progress", "cancelled"),
        ("open", "cancelled", "completed"),
        ("in_progress", "completed", "open"),
    ],
)
def test_a_status_against_work_that_was_begun_or_done_is_escalated(base: str, here: str, there: str) -> None:
    result = merged({"status": base}, {"status": here}, {"status": there})
    assert fate(result, "status") == (ESCALATED, here, Rule.DONE_AND_CANCELLED)
    assert of(result, "status").severity == "error"


def test_a_reopening_at_the_source_stands() -> None:
    assert merged({"status": "completed"}, {}, {"status": "open"}).values == {"status": "open"}
    newer = merged({"status": "completed"}, {"status": "closed"}, {"status": "open"}, here_at=10, there_at=60)
    assert fate(newer, "status") == (TAKEN, "open", Rule.REOPENED)
    no_clock = merged({"status": "completed"}, {"status": "closed"}, {"status": "open"}, there_at=None)
    assert fate(no_clock, "status") == (TAKEN, "open", Rule.AUTHORITY)
    older = merged({"status": "completed"}, {"status": "closed"}, {"status": "open"}, here_at=60, there_at=10)
    assert fate(older, "status")[0] is ESCALATED


def test_the_times_of_an_orders_life_go_with_its_status() -> None:
    base: dict[str, JsonValue] = {"status": "completed", "completed_at": "2026-03-01T10:00:00+00:00", "closed_at": None}
    here: dict[str, JsonValue] = {"status": "closed", "closed_at": "2026-03-02T12:10:00+00:00"}
    reopened = merged(base, here, {"status": "open", "completed_at": None, "closed_at": None}, here_at=10)
    assert reopened.values == {"status": "open", "completed_at": None, "closed_at": None}
    done: dict[str, JsonValue] = {"status": "completed", "completed_at": "2026-03-02T12:10:00+00:00"}
    there: dict[str, JsonValue] = {"status": "cancelled", "closed_at": "2026-03-02T13:00:00+00:00"}
    waiting = merged({"status": "open", "completed_at": None, "closed_at": None}, done, there)
    assert waiting.values == {"status": "completed", "completed_at": "2026-03-02T12:10:00+00:00", "closed_at": None}
    assert of(waiting, "closed_at").leader == "status"


@pytest.mark.parametrize(
    ("field", "base", "here", "there"),
    [
        ("priority", "low", "high", "critical"),
        ("due_at", None, "2026-03-09T00:00:00+00:00", "2026-03-20T00:00:00+00:00"),
        ("assignee", "Weber", "Stone", None),
        ("cost", "10.00", "20.00", "30.00"),
    ],
)
@pytest.mark.parametrize(("here_at", "there_at"), [(60, 30), (None, 30), (30, None)])
def test_the_source_has_authority_whoever_was_later(
    field: str, base: JsonValue, here: JsonValue, there: JsonValue, *, here_at: float | None, there_at: float | None
) -> None:
    result = merged({field: base}, {field: here}, {field: there}, here_at=here_at, there_at=there_at)
    assert fate(result, field) == (TAKEN, there, Rule.AUTHORITY)


@pytest.mark.parametrize("field", ["running_hours", "bearing_temperature"])
def test_what_is_measured_here_stays(field: str) -> None:
    assert fate(merged({field: 1}, {field: 2}, {field: 3}, entity_type="meter"), field) == (KEPT, 2, Rule.AUTHORITY)


def test_an_amount_and_its_currency_are_one_value() -> None:
    result = merged({"cost": "10.00", "currency": "EUR"}, {"currency": "USD"}, {"cost": "12.00"})
    assert result.values == {"cost": "12.00", "currency": "EUR"}
    assert (of(result, "currency").ours, of(result, "currency").leader) == ("USD", "cost")


@pytest.mark.parametrize(
    ("here_at", "there_at", "verdict", "stands"),
    [(10, 60, TAKEN, "theirs"), (60, 10, KEPT, "ours"), (10, 15, ESCALATED, "ours"), (10, 12, ESCALATED, "ours")],
)
def test_a_description_goes_to_the_last_writer_if_the_gap_exceeds_the_skew(
    here_at: float, there_at: float, verdict: Verdict, stands: str
) -> None:
    result = merged({"description": "x"}, {"description": "ours"}, {"description": "theirs"}, here_at=here_at, there_at=there_at)
    assert fate(result, "description")[:2] == (verdict, stands)


@pytest.mark.parametrize("flaw", ["missing here", "missing there", "ahead", "skewed", "configured"])
def test_a_clock_that_is_missing_or_skewed_leaves_it_to_the_authority(flaw: str) -> None:
    one = case({"title": "x"}, {"title": "ours"}, {"title": "theirs"}, here_at=600, there_at=60)
    flawed = {
        "missing here": replace(one, ours=replace(one.ours, times={})),
        "missing there": replace(one, theirs=replace(one.theirs, times={})),
        "ahead": replace(one, delivery=Delivery(received_at=minutes(50))),
        "skewed": replace(one, theirs=replace(one.theirs, clock_is_trusted=False)),
        "configured": one,
    }[flaw]
    policy = ConflictPolicy(clock_is_trusted=flaw != "configured")
    assert fate(merge(one, DEFAULT_POLICY), "title") == (KEPT, "ours", Rule.LAST_WRITER)
    assert fate(merge(flawed, policy), "title") == (TAKEN, "theirs", Rule.AUTHORITY)


@pytest.mark.parametrize(
    ("base", "here", "there", "stands"),
    [
        (["seal"], ["seal", "bolt"], ["seal", "belt"], ["belt", "bolt", "seal"]),
        (["seal", "bolt"], ["seal"], ["seal", "bolt", "belt"], ["belt", "seal"]),
        (["seal"] * 2, ["seal", "seal", "bolt"], ["seal"] * 3, ["bolt", "seal", "seal", "seal"]),
    ],
)
def test_lists_of_parts_are_merged_as_sets(base: JsonValue, here: JsonValue, there: JsonValue, stands: JsonValue) -> None:
    assert fate(merged({"parts": base}, {"parts": here}, {"parts": there}), "parts") == (MERGED, stands, Rule.SET)


def test_one_part_in_two_quantities_is_escalated() -> None:
    base, here, there = ([{"part_number": "P1", "quantity": count}] for count in (1, 2, 3))
    assert fate(merged({"parts": base}, {"parts": here}, {"parts": there}), "parts") == (ESCALATED, here, Rule.UNDECIDED)


def test_notes_are_appended_also_when_the_source_states_only_its_own() -> None:
    first, ours, theirs = ({"at": f"2026-03-02T12:0{number}:00Z", "text": str(number)} for number in range(3))
    result = merged({"notes": [first]}, {"notes": [first, ours]}, {"notes": [theirs]})
    assert fate(result, "notes") == (MERGED, [first, ours, theirs], Rule.APPEND)
    late = merged({"notes": [first, ours]}, {}, {"notes": [theirs]}, there_at=-30)
    assert late.values == {"notes": [first, ours, theirs]}


def readings(*pairs: tuple[float, float]) -> JsonValue:
    return [{"at": minutes(at).isoformat(), "hours": hours} for at, hours in pairs]


def test_two_rising_readings_are_both_kept_by_their_time() -> None:
    known, ours, theirs = (0, 100), (120, 101.5), (60, 100.8)
    result = merged(
        {"readings": readings(known)}, {"readings": readings(known, ours)}, {"readings": readings(theirs)}, entity_type="meter"
    )
    assert fate(result, "readings") == (MERGED, readings(known, theirs, ours), Rule.COUNTER)


@pytest.mark.parametrize(
    ("limit", "lower", "rule"),
    [(9999, 1, Rule.ROLLOVER), (None, 1, Rule.COUNTER_FELL), (9999, 500, Rule.COUNTER_FELL)],
)
def test_a_lower_reading_is_a_rollover_only_where_a_limit_explains_it(limit: float | None, lower: float, rule: Rule) -> None:
    known, ours, theirs = (0, 9997), (30, 9997.5), (300, lower)
    result = merged(
        {"readings": readings(known)},
        {"readings": readings(known, ours)},
        {"readings": readings(theirs)},
        entity_type="meter",
        counter=CounterFacts(overflow_at=limit),
    )
    whole, mine = readings(known, ours, theirs), readings(known, ours)
    assert fate(result, "readings") == ((MERGED, whole, rule) if rule is Rule.ROLLOVER else (ESCALATED, mine, rule))


def test_a_counter_that_falls_at_the_source_alone_is_not_taken_over() -> None:
    fallen = merged({"cumulative_hours": 100}, {}, {"cumulative_hours": 90}, entity_type="meter")
    assert fate(fallen, "cumulative_hours") == (ESCALATED, 100, Rule.COUNTER_FELL)
    both = merged({"cumulative_hours": 100}, {"cumulative_hours": 101}, {"cumulative_hours": 102}, entity_type="meter")
    assert fate(both, "cumulative_hours") == (MERGED, "102", Rule.COUNTER)


def test_a_deletion_against_a_local_edit_on_open_work_is_escalated() -> None:
    edited = merged({"status": "open", "assignee": "W"}, {"assignee": "S"}, {}, operation=Operation.DELETE)
    assert (edited.is_tombstone, fate(edited, "is_deleted")) == (False, (ESCALATED, None, Rule.DELETED))
    machine = merged(
        {"is_active": True, "point": "1"},
        {"point": "2"},
        {"is_active": False},
        entity_type="equipment",
        operation=Operation.DELETE,
    )
    assert machine.values == {"is_active": True, "point": "2"}


def test_a_deletion_of_what_nobody_edited_or_of_work_that_is_over_leaves_a_tombstone() -> None:
    for base, here in (({"status": "open"}, {}), ({"status": "closed", "title": "A"}, {"title": "B"})):
        result = merged(base, here, {}, operation=Operation.DELETE)
        assert result.is_tombstone
        assert result.values == {**base, **here, "is_deleted": True}
    again = merge(
        replace(case({"is_active": False}, {}, {"is_active": False}, operation=Operation.DELETE), entity_type="equipment"),
        DEFAULT_POLICY,
    )
    assert again.decisions == ()


def test_two_systems_that_claim_one_machine_are_escalated() -> None:
    claims = {"sap": {"equipment_description": "pump"}}
    changed = merged(
        {"equipment_description": "pump"}, {}, {"equipment_description": "fan"}, entity_type="equipment", claims=claims
    )
    assert fate(changed, "equipment_description") == (ESCALATED, "pump", Rule.TWO_SYSTEMS)
    first = merged(None, {"equipment_description": "pump"}, {"attributes.COLOUR": "red"}, entity_type="equipment", claims=claims)
    assert fate(first, "attributes.COLOUR")[0] is ESCALATED
    agreed = merged({"equipment_description": "pump"}, {}, {"attributes.COLOUR": "red"}, entity_type="equipment", claims=claims)
    assert agreed.values["attributes.COLOUR"] == "red"


@pytest.mark.parametrize("field", ["attributes.lockout_state", "attributes.LOTO", "attributes.isSafeToOperate", "permit_number"])
def test_a_safety_field_that_differs_is_escalated_whatever_is_configured(field: str) -> None:
    forced = ConflictPolicy.model_construct(
        rules={"equipment": {field: FieldRule(strategy=Strategy.LAST_WRITER)}}, safety_fields=(), allowed_skew_s=0
    )
    result = merged({field: "none"}, {field: "locked"}, {field: "released"}, entity_type="equipment", policy=forced)
    assert fate(result, field) == (ESCALATED, "locked", Rule.SAFETY)
    assert of(result, field).severity == "critical"


def test_a_safety_field_that_only_the_source_changed_is_taken_unless_it_is_cleared() -> None:
    field = "attributes.lockout_state"
    assert fate(merged({field: "none"}, {}, {field: "locked"}, entity_type="equipment"), field)[:2] == (TAKEN, "locked")
    assert fate(merged({field: "locked"}, {}, {field: None}, entity_type="equipment"), field) == (
        ESCALATED,
        "locked",
        Rule.SAFETY,
    )


def test_a_warning_is_not_overwritten_by_a_later_text_or_a_set_without_it() -> None:
    text = merged({"description": "x"}, {"description": "LOTO applied, do not start"}, {"description": "oil changed"})
    assert fate(text, "description")[2] is Rule.SAFETY
    tags = merged({"tags": ["lockout"]}, {"tags": ["lockout", "oil"]}, {"tags": []})
    assert fate(tags, "tags") == (ESCALATED, ["lockout", "oil"], Rule.SAFETY)


def test_one_edit_in_three_unordered_events_is_one_change() -> None:
    statements: list[dict[str, JsonValue]] = [
        {"status": "in_progress", "assignee": "Ortiz"},
        {"assignee": "Ortiz"},
        {"status": "STARTED"},
    ]
    for order in (statements, statements[::-1], statements[1:] + statements[:1]):
        current = case({"status": "open", "assignee": None}, {}, {})
        changed = 0
        for stated in order:
            result = merge(replace(current, theirs=Side(stated, dict.fromkeys(stated, minutes(5)))), DEFAULT_POLICY)
            changed += sum(one.changes_ours for one in result.decisions)
            current = replace(current, base=result.base, ours=replace(current.ours, values=result.values))
        assert (current.ours.values, changed) == ({"status": "in_progress", "assignee": "Ortiz"}, 2)


def test_first_contact_takes_what_one_side_lacks_and_never_lets_the_later_text_win() -> None:
    here: dict[str, JsonValue] = {"title": "A", "assignee": "S", "due_at": None, "status": "completed", "description": "ours"}
    there: dict[str, JsonValue] = {
        "title": "A ",
        "assignee": "W",
        "due_at": "2026-03-09",
        "status": "open",
        "description": "theirs",
    }
    result = merged(None, here, there, here_at=10, there_at=600)
    verdicts = {one.field: (one.verdict, one.rule) for one in result.decisions}
    assert verdicts == {
        "title": (CONVERGED, Rule.SPELLING),
        "assignee": (TAKEN, Rule.AUTHORITY),
        "due_at": (TAKEN, Rule.FIRST_CONTACT),
        "status": (KEPT, Rule.STATUS),
        "description": (ESCALATED, Rule.UNDECIDED),
    }


def test_a_source_that_has_come_to_our_value_and_gone_on_is_followed_in_whatever_order_its_events_came() -> None:
    late = case({"status": "in_progress"}, {"status": "completed"}, {"status": "open"}, here_at=5, there_at=60)
    assert fate(merge(late, DEFAULT_POLICY), "status")[0] is ESCALATED
    told = replace(late, theirs=replace(late.theirs, history={"status": ((minutes(20), "TECO"), (minutes(60), "open"))}))
    assert fate(merge(told, DEFAULT_POLICY), "status") == (TAKEN, "open", Rule.FAST_FORWARD)


def test_an_undo_restores_and_refuses_what_was_changed_since() -> None:
    result = merged({"assignee": "W", "title": "x"}, {"assignee": "S"}, {"assignee": "O", "title": "y"}, there_at=90)
    assert undo(result.values, result.decisions) == {"assignee": "S", "title": "x"}
    with pytest.raises(ValueError, match="assignee"):
        undo({**result.values, "assignee": "somebody else"}, result.decisions)


def test_a_decision_on_an_escalated_field_waits_and_closes_when_the_sides_agree() -> None:
    first = case(
        {"attributes.COLOUR": "red"}, {"attributes.COLOUR": "blue"}, {"attributes.COLOUR": "green"}, entity_type="equipment"
    )
    waiting = merge(first, DEFAULT_POLICY)
    assert (waiting.values, waiting.base.values) == ({"attributes.COLOUR": "blue"}, {"attributes.COLOUR": "red"})
    agreed = Side({"attributes.COLOUR": "blue"}, {"attributes.COLOUR": minutes(90)})
    closed = merge(replace(first, base=waiting.base, theirs=agreed), DEFAULT_POLICY)
    assert fate(closed, "attributes.COLOUR") == (CONVERGED, "blue", Rule.SAME)


def test_a_reading_in_the_future_of_its_arrival_is_no_last_writer_but_within_the_skew_it_is() -> None:
    one = case({"title": "x"}, {"title": "ours"}, {"title": "theirs"}, here_at=0, there_at=60)
    near = replace(one, delivery=Delivery(received_at=minutes(60) - timedelta(seconds=299)))
    assert fate(merge(near, DEFAULT_POLICY), "title") == (TAKEN, "theirs", Rule.LAST_WRITER)
