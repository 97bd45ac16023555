"""The classes of scenarios: what both sides do in each, drawn from a seed.

What belongs here: the builders, by class. What does not: what should become of a scenario (`conflicting.labels`, which this
module never imports). A scenario does not know its class.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Delivery, Operation, Side
from cmms_pipelines.domain.conflicts import fingerprint, fingerprint_of_field
from cmms_pipelines.domain.counters import CounterFacts
from conflicting.worlds import FORWARD, PARTS, PEOPLE, PRIORITIES, TAGS, ZONES, Event, Scenario, World, with_delivery

Builder = Callable[[World], Scenario]


def _field(world: World, name: str, here: JsonValue, there: JsonValue) -> Scenario:
    return world.contest("work_order", world.order(), {name: here}, {name: there})


def _statuses(world: World, base: str, here: str, there: str, **options: tuple[datetime, datetime]) -> Scenario:
    return world.contest("work_order", world.order(base), {"status": here}, {"status": there}, **options)  # type: ignore[arg-type]


def status_forward_on_both(world: World) -> Scenario:
    base, *after = FORWARD[world.chance.randrange(1, 4) :]
    here, there = world.chance.sample(after, 2)
    return _statuses(world, base, here, world.chance.choice((there, there.upper(), there.replace("_", " "))))


def status_side_by_side(world: World) -> Scenario:
    pairs = [
        ("open", "in_progress", "on_hold"),
        ("scheduled", "on_hold", "in_progress"),
        ("open", "scheduled", "cancelled"),
        ("requested", "cancelled", "open"),
        ("requested", "open", "cancelled"),
    ]
    return _statuses(world, *world.chance.choice(pairs))


def cancelled_there_completed_here(world: World) -> Scenario:
    here = world.chance.choice(("completed", "closed"))
    there = world.chance.choice(("cancelled", "canceled", "VOID"))
    return _statuses(world, world.chance.choice(("open", "scheduled", "in_progress")), here, there)


def cancelled_there_started_here(world: World) -> Scenario:
    return _statuses(
        world, world.chance.choice(("open", "scheduled")), world.chance.choice(("in_progress", "on_hold")), "cancelled"
    )


def completed_there_cancelled_here(world: World) -> Scenario:
    there = world.chance.choice(("completed", "TECO", "closed", "in_progress"))
    return _statuses(world, world.chance.choice(("open", "scheduled")), "cancelled", there)


def reopened_there_closed_here(world: World) -> Scenario:
    early = world.after(30, 500)
    late = early + timedelta(minutes=world.chance.uniform(15, 900))
    there = world.chance.choice(("open", "in_progress", "reopened"))
    return _statuses(world, "completed", "closed", there, times=(early, late))


def replanned_there_completed_here(world: World) -> Scenario:
    there = world.chance.choice(("open", "scheduled", "requested"))
    return _statuses(world, "in_progress", world.chance.choice(("completed", "closed")), there)


def completion_times_differ(world: World) -> Scenario:
    values = world.order("in_progress")
    ours_at, theirs_at = world.apart()
    here: dict[str, JsonValue] = {"status": "completed", "completed_at": ours_at.replace(microsecond=0).isoformat()}
    there: dict[str, JsonValue] = {"status": "TECO", "completed_at": theirs_at.replace(microsecond=0).isoformat()}
    return world.contest("work_order", values, here, there, contested=["completed_at"], times=(ours_at, theirs_at))


def assignee_on_both(world: World) -> Scenario:
    values = world.order()
    here = world.other(PEOPLE, values["assignee"])
    there = world.other(PEOPLE, values["assignee"], here)
    return world.contest("work_order", values, {"assignee": here}, {"assignee": there})


def assignee_cleared_there(world: World) -> Scenario:
    values = world.order()
    return world.contest("work_order", values, {"assignee": world.other(PEOPLE, values["assignee"])}, {"assignee": None})


def cost_on_both(world: World) -> Scenario:
    here, there = world.chance.sample(range(1_000_000, 9_000_000), 2)
    return _field(world, "cost", f"{here / 100:.2f}", f"{there / 100:,.2f}")


def cost_there_currency_here(world: World) -> Scenario:
    there = f"{world.chance.randrange(1_000_000, 9_000_000) / 100:.2f}"
    return world.contest("work_order", world.order(), {"currency": "USD"}, {"cost": there}, contested=["cost", "currency"])


def priority_on_both(world: World) -> Scenario:
    values = world.order()
    here = world.other(PRIORITIES, values["priority"])
    there = world.other(PRIORITIES, values["priority"], here)
    return world.contest("work_order", values, {"priority": here}, {"priority": there})


def priority_with_our_later_edit(world: World) -> Scenario:
    found = priority_on_both(world)
    early, late = sorted(world.apart())
    event = found.events[0]
    return replace(
        found,
        ours=replace(found.ours, times=dict.fromkeys(found.ours.values, late)),
        events=(replace(event, theirs=replace(event.theirs, times=dict.fromkeys(event.theirs.values, early))),),
    )


def due_date_against_reschedule(world: World) -> Scenario:
    return _field(world, "due_at", world.moment(), world.moment())


def planned_start_on_both(world: World) -> Scenario:
    return _field(world, "scheduled_at", world.moment(), world.moment())


def order_type_on_both(world: World) -> Scenario:
    return _field(world, "work_type", "PM07", world.chance.choice(("PM08", "PM09")))


def running_hours_on_both(world: World) -> Scenario:
    base, here, there = (f"{hours / 100:.2f}" for hours in world.chance.sample(range(100, 2400), 3))
    return world.contest("meter", {"running_hours": base}, {"running_hours": here}, {"running_hours": there})


def sensor_value_on_both(world: World) -> Scenario:
    name = world.chance.choice(("bearing_temperature", "vibration_rms", "oil_pressure"))
    base, here, there = (number / 10 for number in world.chance.sample(range(100, 9000), 3))
    return world.contest("meter", {name: base}, {name: here}, {name: there})


def _text_apart(world: World, entity_type: str, name: str, there: JsonValue) -> Scenario:
    values = world.order() if entity_type == "work_order" else world.machine()
    return world.contest(entity_type, values, {name: world.text()}, {name: there})


def description_apart_in_time(world: World) -> Scenario:
    return _text_apart(world, "work_order", "description", world.text())


def title_apart_in_time(world: World) -> Scenario:
    return _text_apart(world, "work_order", "title", world.text())


def description_cleared_apart_in_time(world: World) -> Scenario:
    return _text_apart(world, "work_order", "description", None)


def machine_description_apart_in_time(world: World) -> Scenario:
    return _text_apart(world, "equipment", "equipment_description", world.text())


def description_at_the_same_time(world: World) -> Scenario:
    ours_at = world.after(30, 2_000)
    theirs_at = ours_at + timedelta(seconds=world.chance.uniform(-290, 290))
    return world.contest(
        "work_order", world.order(), {"description": world.text()}, {"description": world.text()}, times=(ours_at, theirs_at)
    )


def description_without_a_clock(world: World) -> Scenario:
    found = description_apart_in_time(world)
    event = found.events[0]
    return replace(found, events=(replace(event, theirs=replace(event.theirs, times={})),))


def description_with_a_clock_ahead(world: World) -> Scenario:
    found = description_apart_in_time(world)
    stated_at = max(at for at in found.events[0].theirs.times.values() if at is not None)
    received_at = stated_at - timedelta(minutes=world.chance.uniform(10, 3_000))
    return with_delivery(found, Delivery(received_at=received_at))


def description_with_a_clock_behind(world: World) -> Scenario:
    found = description_apart_in_time(world)
    if world.chance.random() < 0.5:
        return replace(found, clock_of_system_is_trusted=False)
    event = found.events[0]
    return replace(found, events=(replace(event, theirs=replace(event.theirs, clock_is_trusted=False)),))


def notes_on_both(world: World) -> Scenario:
    values = world.order()
    known = values["notes"] if isinstance(values["notes"], list) else []
    added = [world.note("atlas") for _ in range(world.chance.randrange(1, 3))]
    there = [*known, *added] if world.chance.random() < 0.5 else added  # some senders state only what they add
    return world.contest("work_order", values, {"notes": [*known, world.note("here")]}, {"notes": there})


def _listed(value: JsonValue) -> list[JsonValue]:
    return list(value) if isinstance(value, list) else []


def parts_added_on_both(world: World) -> Scenario:
    values = world.order()
    known = _listed(values["parts"])
    here, there = world.chance.sample([part for part in PARTS if part not in known], 2)
    return world.contest("work_order", values, {"parts": [*known, here]}, {"parts": [there, *known]})


def parts_added_and_removed(world: World) -> Scenario:
    values = world.order()
    known = _listed(values["parts"])
    added, fewer = [*known, world.other(PARTS, *known)], known[1:]
    here, there = (added, fewer) if world.chance.random() < 0.5 else (fewer, added)
    return world.contest("work_order", values, {"parts": here}, {"parts": there})


def part_quantity_on_both(world: World) -> Scenario:
    values = world.order()
    number = f"P-{world.chance.randrange(1000)}"
    base, here, there = world.chance.sample(range(1, 30), 3)
    values["parts"] = [{"part_number": number, "quantity": base}]
    return world.contest(
        "work_order",
        values,
        {"parts": [{"part_number": number, "quantity": here}]},
        {"parts": [{"part_number": number, "quantity": there}]},
    )


def tags_on_both(world: World) -> Scenario:
    values = world.order()
    known = _listed(values["tags"])
    here, there = world.chance.sample([tag for tag in TAGS if tag not in known], 2)
    return world.contest("work_order", values, {"tags": [*known, here]}, {"tags": [*known[1:], there]})


def _meter(world: World, here_h: float, there_h: float, base_h: float, limit: float | None) -> Scenario:
    first, second = sorted((world.after(60, 2_000), world.after(2_030, 5_000)))
    ours_at, theirs_at = (first, second) if there_h < base_h or world.chance.random() < 0.5 else (second, first)
    low, high = sorted((here_h, there_h))
    if there_h >= base_h:
        here_h, there_h = (low, high) if ours_at < theirs_at else (high, low)
    known = world.reading(world.start, base_h)
    here, there = world.reading(ours_at, here_h), world.reading(theirs_at, there_h)
    return replace(
        world.contest(
            "meter",
            {"readings": [known]},
            {"readings": [known, here]},
            {"readings": [there]},
            times=(ours_at, theirs_at),
        ),
        counter=CounterFacts(overflow_at=limit),
    )


def meter_rising_on_both(world: World) -> Scenario:
    base = world.chance.uniform(100, 50_000)
    limit = None if world.chance.random() < 0.7 else 99_999.0
    return _meter(world, base + world.chance.uniform(0, 10), base + world.chance.uniform(10, 20), base, limit)


def meter_lower_with_limit(world: World) -> Scenario:
    base = 9_999.0 - world.chance.uniform(2, 6)
    return _meter(world, base + 1, world.chance.uniform(0.1, 5), base, 9_999.0)


def meter_lower_without_limit(world: World) -> Scenario:
    base = world.chance.uniform(500, 50_000)
    return _meter(world, base + 1, base - world.chance.uniform(5, 400), base, None)


def _deleted(found: Scenario) -> Scenario:
    event = found.events[0]
    said = {"is_active": False} if found.entity_type == "equipment" else {}
    theirs = replace(event.theirs, values=said, times=dict.fromkeys(said, max(filter(None, found.ours.times.values()))))
    name = "is_active" if found.entity_type == "equipment" else "is_deleted"
    return replace(
        found,
        events=(replace(event, theirs=theirs, operation=Operation.DELETE),),
        contested=(name,) if found.changed_here else (),
        changed_there=(name,),
    )


def deleted_there_edited_here_open(world: World) -> Scenario:
    if world.chance.random() < 0.5:
        edits: dict[str, JsonValue] = {"equipment_description": world.text()}
        return _deleted(world.contest("equipment", world.machine(), edits, {}))
    return _deleted(world.contest("work_order", world.order(), {"assignee": "R. Stone", "due_at": world.moment()}, {}))


def deleted_there_edited_here_done(world: World) -> Scenario:
    status = world.chance.choice(("completed", "closed", "cancelled"))
    return _deleted(world.contest("work_order", world.order(status), {"description": world.text()}, {}, has_noise=False))


def deleted_there_untouched_here(world: World) -> Scenario:
    is_machine = world.chance.random() < 0.5
    values = world.machine() if is_machine else world.order()
    return _deleted(world.contest("equipment" if is_machine else "work_order", values, {}, {}, has_noise=False))


def two_systems_claim_a_machine(world: World) -> Scenario:
    values = world.machine()
    name = world.chance.choice(("equipment_description", "object_number"))
    value = world.text() if name == "equipment_description" else f"IE{world.chance.randrange(10**9)}"
    found = world.contest("equipment", values, {}, {name: value}, contested=[name])
    event = found.events[0]
    if world.chance.random() < 0.5:
        side = replace(event.theirs, values={name: value}, times={name: world.after(30, 60)}, writer="maximo")
        event = replace(event, operation=Operation.CREATE, theirs=side)
        return replace(found, base=None, events=(event,), claims={"atlas": values})
    side = replace(event.theirs, writer="maximo")
    return replace(found, events=(replace(event, theirs=side),), claims={"atlas": values})


def safety_field_on_both(world: World) -> Scenario:
    names = ("attributes.lockout_state", "attributes.LOTO", "attributes.isSafeToOperate", "attributes.Hot-Work Permit")
    name = world.chance.choice(names)
    here, there = world.chance.sample(("locked", "released", "locked by Weber", "permit 88", "permit 91"), 2)
    return world.contest("equipment", {**world.machine(), name: "none"}, {name: here}, {name: there})


def other_machine_on_both(world: World) -> Scenario:
    here, there = (str(number) for number in world.chance.sample(range(10_000_000, 99_999_999), 2))
    return _field(world, "equipment_number", here, there)


def unknown_attribute_on_both(world: World) -> Scenario:
    name = world.chance.choice(("attributes.HERST", "attributes.BAUJJ", "attributes.CostCentre"))
    return world.contest("equipment", {**world.machine(), name: "A"}, {name: "B"}, {name: "C"})


def _first(found: Scenario) -> Scenario:
    return replace(found, base=None)


def first_contact_owned_field_differs(world: World) -> Scenario:
    name = world.chance.choice(("assignee", "priority", "due_at", "cost"))
    values = world.order()
    drawn: dict[str, JsonValue] = {
        "assignee": world.other(PEOPLE, values["assignee"]),
        "priority": world.other(PRIORITIES, values["priority"]),
        "due_at": world.moment(),
        "cost": "12.50",
    }
    return _first(world.contest("work_order", values, {}, {name: drawn[name]}, contested=[name], has_noise=False))


def first_contact_status_differs(world: World) -> Scenario:
    here, there = world.chance.sample(FORWARD, 2)
    return _first(world.contest("work_order", world.order(here), {}, {"status": there}, contested=["status"], has_noise=False))


def first_contact_text_differs(world: World) -> Scenario:
    edits: dict[str, JsonValue] = {"description": world.text()}
    return _first(world.contest("work_order", world.order(), {}, edits, contested=["description"], has_noise=False))


def first_contact_equal(world: World) -> Scenario:
    values = world.order()
    found = _first(world.contest("work_order", values, {}, {}, has_noise=False))
    return replace(found, events=(Event(Side(values, dict.fromkeys(values, world.start), writer="atlas")),))


def first_contact_one_side_absent(world: World) -> Scenario:
    values = world.order()
    here, there = {**values, "assignee": None, "cost": None, "currency": None}, {**values, "due_at": None}
    found = _first(world.contest("work_order", here, {}, {}, has_noise=False))
    return replace(
        found,
        events=(Event(Side(there, dict.fromkeys(there, world.start), writer="atlas")),),
        changed_there=("assignee", "cost", "currency"),
    )


def several_fields_in_one_event(world: World) -> Scenario:
    values = world.order("scheduled")
    notes, tags = _listed(values["notes"]), _listed(values["tags"])
    mine = world.other(PEOPLE, values["assignee"])
    here: dict[str, JsonValue] = {
        "status": "in_progress",
        "assignee": mine,
        "due_at": world.moment(),
        "notes": [*notes, world.note("here")],
        "tags": [*tags, "ours"],
        "description": world.text(),
    }
    there: dict[str, JsonValue] = {
        "status": world.chance.choice(("TECO", "completed")),
        "assignee": world.other(PEOPLE, values["assignee"], mine),
        "due_at": world.moment(),
        "notes": [*notes, world.note("atlas")],
        "tags": ["theirs", *tags],
        "description": world.text(),
    }
    if world.chance.random() < 0.04:
        here["equipment_number"], there["equipment_number"] = "10020570", "10020571"
    for name in world.chance.sample(sorted(there.keys() - {"equipment_number"}), world.chance.randrange(0, 4)):
        del there[name]
    return world.contest("work_order", values, here, there)


def disjoint_fields(world: World) -> Scenario:
    values = world.order()
    names = world.chance.sample(("priority", "title", "description", "assignee", "due_at", "work_type"), 4)
    drawn: dict[str, JsonValue] = {
        "priority": world.other(PRIORITIES, values["priority"]),
        "title": world.text(),
        "description": world.text(),
        "assignee": world.other(PEOPLE, values["assignee"]),
        "due_at": world.moment(),
        "work_type": "PM09",
    }
    here, there = ({name: drawn[name] for name in part} for part in (names[:2], names[2:]))
    return world.contest("work_order", values, here, there, contested=[], has_noise=False)


def same_value_on_both(world: World) -> Scenario:
    edits: dict[str, JsonValue] = {"title": world.text(), "status": "completed", "due_at": world.moment()}
    return world.contest("work_order", world.order("open"), edits, edits, contested=[])


def unit_differs_only(world: World) -> Scenario:
    hours = world.chance.randrange(1, 24)
    here: dict[str, JsonValue] = {"running_hours": hours}
    there: dict[str, JsonValue] = {
        "running_hours": world.chance.choice((f"{hours * 60} min", {"value": hours * 3600, "unit": "s"}))
    }
    return world.contest("meter", {"running_hours": 0.5}, here, there, contested=[])


def zone_differs_only(world: World) -> Scenario:
    moment = world.after(30, 9_000).replace(microsecond=0)
    there = moment.astimezone(timezone(world.chance.choice(ZONES))).isoformat()
    edits: tuple[dict[str, JsonValue], dict[str, JsonValue]] = ({"scheduled_at": moment.isoformat()}, {"scheduled_at": there})
    return world.contest("work_order", world.order(), *edits, contested=[])


def spelling_differs_only(world: World) -> Scenario:
    spellings = [
        ("completed", "TECO"),
        ("in_progress", "In Progress"),
        ("cancelled", "Canceled"),
        ("on_hold", "WAITING FOR PARTS"),
    ]
    here, there = world.chance.choice(spellings)
    return world.contest(
        "work_order",
        {**world.order("open"), "priority": "low"},
        {"status": here, "priority": "critical"},
        {"status": there, "priority": world.chance.choice((1, "Very High", "URGENT"))},
        contested=[],
    )


def number_form_differs_only(world: World) -> Scenario:
    cents = world.chance.randrange(100_000, 9_000_000)
    return world.contest(
        "work_order", world.order(), {"cost": f"{cents / 100:.2f}"}, {"cost": f"{cents / 100:,.2f}0"}, contested=[]
    )


def list_order_differs_only(world: World) -> Scenario:
    values = world.order()
    parts = [*_listed(values["parts"]), "valve"]
    return world.contest("work_order", values, {"parts": parts}, {"parts": parts[::-1]}, contested=[])


def echo_of_our_write(world: World) -> Scenario:
    values = world.order()
    text = world.text()
    found = world.contest("work_order", values, {"title": text}, {"title": text}, contested=[], has_noise=False)
    return replace(
        with_delivery(found, Delivery(own_writes=frozenset((fingerprint_of_field("work_order", "title", text),)))),
        changed_there=(),
    )


def echo_after_our_next_edit(world: World) -> Scenario:
    values = world.order()
    written = world.text()
    found = world.contest("work_order", values, {"title": world.text()}, {"title": written}, contested=[], has_noise=False)
    delivery = (
        Delivery(own_writes=frozenset((fingerprint_of_field("work_order", "title", written),)))
        if world.chance.random() < 0.5
        else Delivery(id="w-7", own_ids=frozenset(("w-7",)))
    )
    return replace(with_delivery(found, delivery), changed_there=())


def _again(world: World) -> tuple[Scenario, Side]:
    """Return an order whose statement has taken effect, then an edit here; the statement comes again."""
    values = {**world.order(), "assignee": "A. Novak"}
    found = world.contest("work_order", values, {"assignee": "R. Stone"}, {}, has_noise=False)
    said = Side({"assignee": "J. Ortiz"}, {"assignee": world.after(1, 5)}, writer="atlas")
    return found, said


def redelivery_with_the_same_id(world: World) -> Scenario:
    found, said = _again(world)
    delivery = Delivery(id="e-1", seen_ids=frozenset(("e-0", "e-1")))
    return replace(found, events=(Event(said, delivery=delivery),))


def redelivery_under_another_id(world: World) -> Scenario:
    found, said = _again(world)
    mark = fingerprint("work_order", said.values, said.times["assignee"])
    delivery = Delivery(id="e-9", fingerprint=mark, seen_ids=frozenset(("e-1",)), seen_fingerprints=frozenset((mark,)))
    return replace(found, events=(Event(said, delivery=delivery),))


def late_older_event(world: World) -> Scenario:
    values = world.order()
    edits: dict[str, JsonValue] = {"priority": "none" if values["priority"] != "none" else "low", "title": world.text()}
    found = world.contest("work_order", values, {"assignee": "R. Stone"}, {}, has_noise=False)
    said = Side(edits, dict.fromkeys(edits, world.start - timedelta(minutes=world.chance.uniform(1, 900))), writer="atlas")
    return replace(found, events=(Event(said),))


def late_event_by_sequence(world: World) -> Scenario:
    found = late_older_event(world)
    said = replace(found.events[0].theirs, times={name: world.after(30, 60) for name in found.events[0].theirs.values})
    base = found.base
    assert base is not None
    return replace(
        found,
        base=replace(base, sequences=dict.fromkeys(base.values, 40)),
        events=(Event(said, delivery=Delivery(sequence=world.chance.randrange(1, 40))),),
    )


def late_event_old_and_new_fields(world: World) -> Scenario:
    found = late_older_event(world)
    base = found.base
    assert base is not None
    times = {**base.times, "title": world.start - timedelta(days=30)}
    return replace(found, base=replace(base, times=times), changed_there=("title",))


def created_after_updated(world: World) -> Scenario:
    values = world.order()
    known = {name: values[name] for name in ("status", "title")}
    at = world.start - timedelta(minutes=5)
    created = {**values, "title": world.text(), "status": "open"}
    empty: dict[str, JsonValue] = dict.fromkeys(values)
    return Scenario(
        "work_order",
        world.base(known),
        Side({**empty, **known}, dict.fromkeys(known, world.start)),
        (Event(Side(created, dict.fromkeys(created, at), writer="atlas"), Operation.CREATE),),
        changed_there=tuple(name for name in values if name not in known),
    )


def partial_payload(world: World) -> Scenario:
    values = world.order()
    found = world.contest("work_order", values, {"assignee": "R. Stone", "title": world.text()}, {}, has_noise=False)
    said = Side({"priority": world.other(PRIORITIES, values["priority"])}, {"priority": world.after(30, 60)}, writer="atlas")
    return replace(found, events=(Event(said),), changed_there=("priority",))


def cleared_there_untouched_here(world: World) -> Scenario:
    name = world.chance.choice(("assignee", "description", "due_at"))
    return world.contest("work_order", world.order(), {}, {name: None}, contested=[], has_noise=False)


def update_that_says_nothing_new(world: World) -> Scenario:
    values = world.order()
    found = world.contest("work_order", values, {"title": world.text(), "status": "completed"}, {}, has_noise=False)
    return replace(found, events=(Event(Side(values, dict.fromkeys(values, world.after(30, 60)), writer="atlas")),))


def reopened_there_untouched_here(world: World) -> Scenario:
    values = world.order(world.chance.choice(("completed", "closed")))
    there: dict[str, JsonValue] = {"status": "open", "completed_at": None, "closed_at": None}
    return world.contest("work_order", values, {}, there, contested=[], has_noise=False)


def one_edit_as_three_events(world: World) -> Scenario:
    values = world.order("open")
    at = world.after(30, 500)
    edits: dict[str, JsonValue] = {
        "status": "in_progress",
        "assignee": "J. Ortiz",
        "priority": world.other(PRIORITIES, values["priority"]),
    }
    found = world.contest("work_order", values, {}, edits, contested=[], has_noise=False)
    events = [
        Event(Side({**values, **edits}, dict.fromkeys(values, at), writer="atlas")),
        Event(Side({"status": "in_progress"}, {"status": at}, writer="atlas")),
        Event(Side({"assignee": "J. Ortiz", "priority": edits["priority"]}, dict.fromkeys(edits, at), writer="atlas")),
    ]
    world.chance.shuffle(events)
    return replace(found, events=tuple(events))


CLASSES: dict[str, Builder] = {
    builder.__name__: builder
    for builder in list(globals().values())
    if callable(builder) and getattr(builder, "__module__", "") == __name__ and not builder.__name__.startswith("_")
}
"""Builder by class."""
