"""Meter readings of events that fall for no known reason: they are kept beside what counts, until somebody decides.

What belongs here: which readings of a day wait or were decided, what the conflict engine is asked about them, and what a decision
makes of each. What does not: finding a fall (`domain.machine_days`), the rules (`domain.conflicts`), and rows
(`storage.falling_meters`). Without pandas: the run that applies an event must start fast.

A reading that waits is a part of its day like any other, marked, and its counter does not count: later readings are compared with
the one before it. What somebody decided is a mark on the reading as well, so that a day stays a function of its parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Base, Case, Decision, Side, Verdict
from cmms_pipelines.domain.conflict_policy import ConflictPolicy
from cmms_pipelines.domain.conflicts import merge
from cmms_pipelines.domain.errors import PermanentError

METER = "meter"
READINGS = "readings"

MARKS = frozenset({"is_waiting", "is_accepted", "is_dismissed", "corrected_hours"})
EARLIER = "earlier"
"""The part that counts while a later one of the same day waits, or after it was dismissed."""

StoredPart = Mapping[str, Any]
Reading = dict[str, JsonValue]


@dataclass(frozen=True)
class Fallen:
    """What one system says of one machine's counter that waits: readings in the order of their days, and the one before them."""

    before: Reading
    waiting: tuple[Reading, ...]


def is_waiting(row: Mapping[str, Any] | None) -> bool:
    """Tell whether a reading of a stored day waits."""
    readings = None if row is None else row["readings"]
    return any(part.get("is_waiting") for part in (readings or {}).values())


def reading_of(part: StoredPart) -> Reading:
    """Return a part as the queue of conflicts shows it: what was stated, and when it was read."""
    return {"at": part["date_time"], "hours": part["cumulative_hours"]}


def beside(known: StoredPart, new: StoredPart) -> StoredPart:
    """Return the part of a day of which both are readings: the last one read, with the last one that may count beside it."""
    readings = {_moment(part): part for part in (*_single(new), *_single(known))}
    *before, last = (readings[moment] for moment in sorted(readings))
    earlier = next((part for part in reversed(before) if not _is_held(part)), None)
    return last if earlier is None else {**last, EARLIER: earlier}


def decide(fallen: Fallen, system: str, policy: ConflictPolicy) -> Decision:
    """Return what the conflict engine makes of a fall, by the rule of `meter` and `readings` in the system's policy."""
    ours: list[JsonValue] = [fallen.before]
    theirs: list[JsonValue] = list(fallen.waiting)
    case = Case(METER, Base({READINGS: []}), Side({READINGS: ours}), Side({READINGS: theirs}, writer=system))
    decision = merge(case, policy).decision(READINGS)
    if decision is None:
        raise PermanentError(f"The readings of {system} do not fall.")
    return replace(decision, base=ours)


def marks_of(decision: Decision) -> dict[str, Any]:
    """Return the mark that a rule's decision puts on each reading."""
    return {"is_accepted": True} if decision.verdict is Verdict.TAKEN else {"is_dismissed": True}


def corrections(value: JsonValue, stated: Sequence[JsonValue]) -> list[JsonValue]:
    """Return a value by hand as readings: a number stands for the only one, a list for those that it names by their time.

    Raises:
        PermanentError: it is neither, or names a time at which nothing was read.
    """
    times = [reading["at"] for reading in stated if isinstance(reading, dict)]
    if _is_hours(value) and len(times) == 1:
        return [{"at": times[0], "hours": value}]
    if not isinstance(value, list) or not value:
        raise PermanentError(f"Give the counter's hours, or a list of {{'at', 'hours'}}: {len(times)} readings wait.")
    found: list[JsonValue] = []
    for one in value:
        if not isinstance(one, dict) or one.keys() != {"at", "hours"} or one["at"] not in times or not _is_hours(one["hours"]):
            known = ", ".join(map(str, times))
            raise PermanentError(f"Each reading is {{'at', 'hours'}} with hours of 0 or more, read at one of {known}.")
        found.append(one)
    return found


def marks_by_hand(value: JsonValue, at: JsonValue) -> dict[str, Any]:
    """Return the mark of the reading of a time: corrected where the value names it, dismissed where it does not."""
    named = {one["at"]: one["hours"] for one in value if isinstance(one, dict)} if isinstance(value, list) else {}
    return {"is_accepted": True, "corrected_hours": named[at]} if at in named else {"is_dismissed": True}


def _is_hours(value: JsonValue) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10_000_000


def _single(part: StoredPart) -> list[StoredPart]:
    alone = {name: value for name, value in part.items() if name != EARLIER}
    return [alone, part[EARLIER]] if part.get(EARLIER) else [alone]


def _is_held(part: StoredPart) -> bool:
    return bool(part.get("is_waiting") or part.get("is_dismissed"))


def _moment(part: StoredPart) -> tuple[datetime, float]:
    at, counter = part["date_time"], part["cumulative_hours"]
    return datetime.min.replace(tzinfo=UTC) if at is None else datetime.fromisoformat(at), -1.0 if counter is None else counter
