"""Scenarios made to break the engine: each looks like an easy class and is not.

What belongs here: the builders. What does not: what should become of them (`conflicting.adversarial_labels`).
"""

import unicodedata
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Operation, Side
from cmms_pipelines.domain.counters import CounterFacts
from conflicting.scenarios import Builder
from conflicting.worlds import PEOPLE, TAGS, Event, Scenario, World


def cost_here_currency_there(world: World) -> Scenario:
    cost = f"{world.chance.randrange(1_000_000, 9_000_000) / 100:.2f}"
    return world.contest("work_order", world.order(), {"cost": cost}, {"currency": "CHF"}, contested=["cost", "currency"])


def reopened_there_before_closed_here(world: World) -> Scenario:
    theirs_at = world.after(30, 500)
    ours_at = theirs_at + timedelta(minutes=world.chance.uniform(15, 900))
    return world.contest(
        "work_order", world.order("completed"), {"status": "closed"}, {"status": "open"}, times=(ours_at, theirs_at)
    )


def reopened_there_without_a_clock(world: World) -> Scenario:
    found = world.contest("work_order", world.order("completed"), {"status": "closed"}, {"status": "in_progress"})
    event = found.events[0]
    return replace(found, events=(replace(event, theirs=replace(event.theirs, times={})),))


def cancelled_with_the_whole_state(world: World) -> Scenario:
    values = world.order("in_progress")
    ours_at, theirs_at = world.apart()
    here: dict[str, JsonValue] = {"status": "completed", "completed_at": ours_at.isoformat()}
    there = {**values, "status": "cancelled"}
    found = world.contest("work_order", values, here, {"status": "cancelled"}, times=(ours_at, theirs_at), has_noise=False)
    return replace(found, events=(Event(Side(there, dict.fromkeys(there, theirs_at), writer="atlas")),))


def lockout_tag_taken_away(world: World) -> Scenario:
    values = world.order()
    tag = world.chance.choice(("lockout", "LOTO", "locked-out", "hazard"))
    values["tags"] = [tag, "oil"]
    fewer: dict[str, JsonValue] = {"tags": ["oil"]}
    more: dict[str, JsonValue] = {"tags": [tag, "oil", world.other(TAGS, "oil")]}
    return world.contest("work_order", values, *((fewer, more) if world.chance.random() < 0.5 else (more, fewer)))


def later_text_without_our_warning(world: World) -> Scenario:
    early, late = sorted(world.apart())
    warning = world.chance.choice(("LOTO applied", "locked out, do not start", "DANGER: pressure", "do not operate"))
    here, there = f"{world.text()}. {warning}", world.text()
    return world.contest("work_order", world.order(), {"description": here}, {"description": there}, times=(early, late))


def safety_field_cleared_there(world: World) -> Scenario:
    values: dict[str, JsonValue] = {**world.machine(), "attributes.lockout_state": "locked by Weber"}
    name = "attributes.lockout_state"
    return world.contest("equipment", values, {}, {name: world.chance.choice((None, ""))}, contested=[name])


def safety_field_at_first_contact(world: World) -> Scenario:
    name = "attributes.lockout_state"
    found = world.contest("equipment", world.machine(), {}, {name: "locked"}, contested=[name])
    said = Side({name: "locked"}, found.events[0].theirs.times, writer="atlas")
    return replace(found, base=None, events=(Event(said),))


def rollover_that_cannot_fit(world: World) -> Scenario:
    base = world.chance.uniform(3_000, 6_000)
    ours_at = world.after(60, 600)
    theirs_at = ours_at + timedelta(hours=world.chance.uniform(1, 20))
    known, here = world.reading(world.start, base), world.reading(ours_at, base + 1)
    there = world.reading(theirs_at, world.chance.uniform(1, 900))
    found = world.contest(
        "meter", {"readings": [known]}, {"readings": [known, here]}, {"readings": [there]}, times=(ours_at, theirs_at)
    )
    return replace(found, counter=CounterFacts(overflow_at=9_999.0))


def two_readings_of_one_moment(world: World) -> Scenario:
    at, base = world.after(60, 600), world.chance.uniform(100, 5_000)
    known = world.reading(world.start, base)
    here, there = world.reading(at, base + 1), world.reading(at, base + 1.5)
    return world.contest("meter", {"readings": [known]}, {"readings": [known, here]}, {"readings": [there]}, times=(at, at))


def exactly_the_skew_apart(world: World) -> Scenario:
    at = world.after(60, 600)
    times = (at, at + timedelta(seconds=world.chance.choice((-300, 300))))
    return world.contest("work_order", world.order(), {"description": world.text()}, {"description": world.text()}, times=times)


def part_removed_here_recounted_there(world: World) -> Scenario:
    values = world.order()
    part: dict[str, JsonValue] = {"part_number": f"P-{world.chance.randrange(1000)}", "quantity": 2}
    values["parts"] = [part, {"part_number": "Q-1", "quantity": 1}]
    fewer: dict[str, JsonValue] = {"parts": [{"part_number": "Q-1", "quantity": 1}]}
    more: dict[str, JsonValue] = {"parts": [part | {"quantity": 5}, {"part_number": "Q-1", "quantity": 1}]}
    return world.contest("work_order", values, *((fewer, more) if world.chance.random() < 0.5 else (more, fewer)))


def _attribute(world: World, base: JsonValue, here: JsonValue, there: JsonValue) -> Scenario:
    name = "attributes.FIRMWARE"
    values: dict[str, JsonValue] = {**world.machine(), name: base}
    return world.contest("equipment", values, {name: here}, {name: there})


def version_1_10_against_1_1(world: World) -> Scenario:
    return _attribute(world, "1.0", *world.chance.choice((("1.10", "1.1"), ("2.1", "2.10"))))


def leading_zeros_of_an_attribute(world: World) -> Scenario:
    number = world.chance.randrange(1, 99)
    return _attribute(world, "0", f"00{number}", str(number))


def other_system_deletes_a_machine(world: World) -> Scenario:
    values = world.machine()
    found = world.contest("equipment", values, {}, {"is_active": False}, contested=["is_active"])
    side = Side({"is_active": False}, {"is_active": world.after(30, 60)}, writer="maximo")
    return replace(found, events=(Event(side, Operation.DELETE),), claims={"atlas": values})


def two_statements_newest_first(world: World) -> Scenario:
    values = world.order()
    mine = world.other(PEOPLE, values["assignee"])
    first, second = world.chance.sample([name for name in PEOPLE if name not in (mine, values["assignee"])], 2)
    early, late = sorted((world.after(30, 500), world.after(501, 900)))
    found = world.contest("work_order", values, {"assignee": mine}, {"assignee": second}, has_noise=False)
    events = [
        Event(Side({"assignee": second}, {"assignee": late}, writer="atlas")),
        Event(Side({"assignee": first}, {"assignee": early}, writer="atlas")),
    ]
    return replace(found, events=tuple(events if world.chance.random() < 0.8 else events[::-1]))


def three_seals_and_a_bolt(world: World) -> Scenario:
    values = world.order()
    part = world.chance.choice(("seal", "O-ring 40", "gasket"))
    values["parts"] = [part, part]
    return world.contest("work_order", values, {"parts": [part, part, "bolt M12"]}, {"parts": [part, part, part]})


def note_rewritten_there(world: World) -> Scenario:
    values = world.order()
    known = values["notes"] if isinstance(values["notes"], list) else []
    rewritten: list[JsonValue] = [{**note, "text": "(removed)"} for note in known if isinstance(note, dict)]
    return world.contest("work_order", values, {"notes": [*known, world.note("here")]}, {"notes": rewritten})


def both_removed_the_same_part(world: World) -> Scenario:
    values = world.order()
    parts = values["parts"] if isinstance(values["parts"], list) else []
    edits: dict[str, JsonValue] = {"parts": parts[1:]}
    return world.contest("work_order", values, edits, {"parts": parts[:0:-1]}, contested=[])


def cleared_by_null_and_by_nothing(world: World) -> Scenario:
    return world.contest("work_order", world.order(), {"description": ""}, {"description": None}, contested=[])


def same_text_in_other_bytes(world: World) -> Scenario:
    text = f"Prüfung der Welle: {world.text()}\nAbnahme durch Müller"
    there = unicodedata.normalize("NFD", text).replace("\n", "  \r\n") + " "
    return world.contest("work_order", world.order(), {"description": text}, {"description": there}, contested=[])


def naive_time_in_the_sources_zone(world: World) -> Scenario:
    zone = world.chance.choice(("America/New_York", "Asia/Kolkata", "Europe/Berlin"))
    moment = world.after(30, 90_000).replace(microsecond=0)
    there = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat(sep=" ")
    found = world.contest(
        "work_order", world.order(), {"scheduled_at": moment.isoformat()}, {"scheduled_at": there}, contested=[], has_noise=False
    )
    event = found.events[0]
    said = Side({"scheduled_at": there}, {"scheduled_at": world.after(30, 60)}, writer="atlas", time_zone=zone)
    return replace(found, events=(replace(event, theirs=said),))


def deleted_there_edit_taken_back_here(world: World) -> Scenario:
    values = world.machine()
    found = world.contest("equipment", values, {}, {"is_active": False}, contested=[])
    ours = replace(found.ours, times=dict.fromkeys(values, world.after(1, 20)))
    said = Side({"is_active": False}, {"is_active": world.after(30, 60)}, writer="atlas")
    return replace(found, ours=ours, events=(Event(said, Operation.DELETE),))


ADVERSARIAL: dict[str, Builder] = {
    builder.__name__: builder
    for builder in list(globals().values())
    if callable(builder) and getattr(builder, "__module__", "") == __name__ and not builder.__name__.startswith("_")
}
"""Builder by class."""
