"""Rules 6 to 9: what becomes of one field that both sides have changed, by the strategy that the policy names for it.

What belongs here: one function per strategy. What does not: finding out who changed what and fields that hang together
(`domain.conflicts`), and the arithmetic of lists and counters (`domain.merging_lists`) and of statuses (`domain.status_lattice`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from pydantic import JsonValue

from cmms_pipelines.domain.comparing import Kind
from cmms_pipelines.domain.conflict_cases import Rule, Severity, Verdict
from cmms_pipelines.domain.conflict_policy import Authority, FieldRule, Strategy
from cmms_pipelines.domain.counters import NOTHING_KNOWN, CounterFacts
from cmms_pipelines.domain.merging_lists import (
    Contested,
    Fall,
    append_notes,
    fall_between,
    falls,
    merge_readings,
    merge_sets,
)
from cmms_pipelines.domain.payload_types import WorkOrderStatus
from cmms_pipelines.domain.safety import speaks_of_safety
from cmms_pipelines.domain.status_lattice import Outcome, compare


@dataclass(frozen=True)
class Contest:
    """One field as it was agreed and as each side has it; times are None where they are unknown or not to be trusted."""

    name: str
    kind: Kind
    rule: FieldRule
    base: JsonValue
    ours: JsonValue
    theirs: JsonValue
    ours_at: datetime | None = None
    theirs_at: datetime | None = None
    base_at: datetime | None = None
    is_first_contact: bool = False
    skew: timedelta = timedelta(0)
    counter: CounterFacts = NOTHING_KNOWN


@dataclass(frozen=True)
class Choice:
    """What a rule makes of a contest."""

    verdict: Verdict
    value: JsonValue
    rule: Rule
    reason: str
    severity: Severity = "info"


def choose(contest: Contest) -> Choice:
    """Return what the strategy of the field makes of it."""
    return _STRATEGIES[contest.rule.strategy](contest)


def escalated(contest: Contest, rule: Rule, reason: str, severity: Severity = "warning") -> Choice:
    """Return the choice that leaves it to a person: our value stands until then."""
    return Choice(Verdict.ESCALATED, contest.ours, rule, reason, severity)


def rising(contest: Contest) -> Choice:
    """Decide a counter: the later of two readings, if none falls below the one before it."""
    if contest.ours is None or contest.theirs is None:
        return escalated(contest, Rule.COUNTER_FELL, "one side cleared the counter that the other read")
    ours, theirs = str(contest.ours), str(contest.theirs)
    if contest.ours_at is not None and contest.ours_at == contest.theirs_at:
        return _authority(contest) or escalated(contest, Rule.UNDECIDED, "two different readings of one moment")
    if contest.ours_at is None or contest.theirs_at is None:
        is_theirs_later = _number(theirs) >= _number(ours)
        steps: list[tuple[str, datetime | None]] = [(ours, None), (theirs, None)]
        base_at = None
    else:
        is_theirs_later = contest.theirs_at > contest.ours_at
        steps = [(ours, contest.ours_at), (theirs, contest.theirs_at)]
        base_at = contest.base_at
    if not is_theirs_later:
        steps.reverse()
    if contest.base is not None:
        steps.insert(0, (str(contest.base), base_at))
    between = (fall_between(*first, *second, contest.counter) for first, second in pairwise(steps))
    found = [fall for fall in between if fall is not None]
    if any(not fall.is_rollover for fall in found):
        return escalated(contest, Rule.COUNTER_FELL, _fell(found[0].before, found[0].after), "error")
    later = contest.theirs if is_theirs_later else contest.ours
    if found:
        return Choice(Verdict.MERGED, later, Rule.ROLLOVER, "the counter passed its limit between the two readings", "warning")
    return Choice(Verdict.MERGED, later, Rule.COUNTER, "two readings of a rising counter: the later one stands")


def series(contest: Contest) -> Choice:
    """Decide readings: all of both sides by their time, if no fall is new and unexplained."""
    merged = merge_readings(contest.ours, contest.theirs)
    if isinstance(merged, Contested):
        return _authority(contest) or escalated(
            contest, Rule.UNDECIDED, f"two different readings of one moment: {', '.join(merged.elements)}"
        )
    known = {(fall.before, fall.after) for side in (contest.base, contest.ours) for fall in _falls(side, contest)}
    new = [fall for fall in falls(merged, contest.counter) if (fall.before, fall.after) not in known]
    if any(not fall.is_rollover for fall in new):
        return escalated(contest, Rule.COUNTER_FELL, _fell(new[0].before, new[0].after), "error")
    if new:
        return Choice(Verdict.MERGED, merged, Rule.ROLLOVER, "the counter passed its limit between two readings", "warning")
    return Choice(Verdict.MERGED, merged, Rule.COUNTER, "the readings of both sides, by their time")


def appended(contest: Contest) -> Choice:
    """Decide notes: ours, and what the other side has added."""
    value = append_notes(contest.base, contest.ours, contest.theirs)
    return Choice(Verdict.MERGED, value, Rule.APPEND, "notes of both sides: they are added, never taken away")


def is_later(one: datetime | None, other: datetime | None, skew: timedelta) -> bool | None:
    """Return whether `one` is the later time, None where that cannot be told: unknown, or within the skew."""
    if one is None or other is None or abs(one - other) <= skew:
        return None
    return one > other


def _authority(contest: Contest, why: str = "") -> Choice | None:
    authority = contest.rule.authority
    if authority is None:
        return None
    whose = "the source has" if authority is Authority.SOURCE else "our side has"
    reason = f"{whose} authority over {contest.name}" + (f": {why}" if why else "")
    if authority is Authority.SOURCE:
        return Choice(Verdict.TAKEN, contest.theirs, Rule.AUTHORITY, reason)
    return Choice(Verdict.KEPT, contest.ours, Rule.AUTHORITY, reason)


def _by_authority(contest: Contest) -> Choice:
    return _authority(contest) or _undecided(contest)


def _undecided(contest: Contest) -> Choice:
    return escalated(contest, Rule.UNDECIDED, f"both sides changed {contest.name}, and no rule says whose value counts")


def _by_status(contest: Contest) -> Choice:
    try:
        base = WorkOrderStatus(str(contest.base)) if contest.base is not None else None
        ours, theirs = WorkOrderStatus(str(contest.ours)), WorkOrderStatus(str(contest.theirs))
    except ValueError:
        return _authority(contest, "a status that nobody can place") or _undecided(contest)
    match compare(base, ours, theirs):
        case Outcome.OURS:
            return Choice(Verdict.KEPT, contest.ours, Rule.STATUS, f"both went forward, and {ours} is further than {theirs}")
        case Outcome.THEIRS:
            return Choice(Verdict.TAKEN, contest.theirs, Rule.STATUS, f"both went forward, and {theirs} is further than {ours}")
        case Outcome.CONTRADICTION:
            reason = f"{theirs} at the source and {ours} here contradict each other about work that was begun or done"
            return escalated(contest, Rule.DONE_AND_CANCELLED, reason, "error")
        case Outcome.REOPENED:
            return _reopened(contest)
        case Outcome.NO_ORDER:
            return _authority(contest, f"{ours} and {theirs} are side by side") or _undecided(contest)


def _reopened(contest: Contest) -> Choice:
    is_newer = is_later(contest.theirs_at, contest.ours_at, contest.skew)
    if is_newer is None:
        return _authority(contest, "reopened there, and no clock says when") or _undecided(contest)
    if is_newer:
        return Choice(Verdict.TAKEN, contest.theirs, Rule.REOPENED, f"reopened at the source after it was {contest.ours} here")
    return escalated(contest, Rule.UNDECIDED, f"reopened at the source before it was {contest.ours} here")


def _by_set(contest: Contest) -> Choice:
    merged = merge_sets(contest.base, contest.ours, contest.theirs)
    if not isinstance(merged, Contested):
        return Choice(Verdict.MERGED, merged, Rule.SET, "what either side added is in, what either side took away is out")
    names = ", ".join(merged.elements)
    if merged.is_safety:
        return escalated(contest, Rule.SAFETY, f"a side took away what is about safety: {names}", "critical")
    return escalated(contest, Rule.UNDECIDED, f"both sides changed the same element differently: {names}")


def _by_last_writer(contest: Contest) -> Choice:
    if contest.is_first_contact:
        return escalated(contest, Rule.UNDECIDED, "the sides never agreed on a value, so a later time does not mean an edit")
    is_theirs = is_later(contest.theirs_at, contest.ours_at, contest.skew)
    if is_theirs is None and contest.theirs_at is not None and contest.ours_at is not None:
        within = int(contest.skew.total_seconds())
        return escalated(contest, Rule.UNDECIDED, f"both edits lie within {within} s, the skew allowed to the clocks")
    if is_theirs is None:
        choice = _authority(contest, "without two clocks to trust nobody is the last writer") or _undecided(contest)
    elif is_theirs:
        choice = Choice(Verdict.TAKEN, contest.theirs, Rule.LAST_WRITER, "the source edited it last")
    else:
        choice = Choice(Verdict.KEPT, contest.ours, Rule.LAST_WRITER, "it was edited last here")
    lost, stands = (contest.ours, contest.theirs) if choice.verdict is Verdict.TAKEN else (contest.theirs, contest.ours)
    if speaks_of_safety(str(lost)) and not speaks_of_safety(str(stands)):
        return escalated(contest, Rule.SAFETY, "the text that would be replaced warns of a danger", "critical")
    return choice


def _falls(readings: JsonValue, contest: Contest) -> list[Fall]:
    return falls(readings, contest.counter) if isinstance(readings, list) else []


def _fell(before: str, after: str) -> str:
    return f"the counter fell from {before} to {after}, and no limit explains it: reset, replacement or error"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


_STRATEGIES: Mapping[Strategy, Callable[[Contest], Choice]] = {
    Strategy.AUTHORITY: _by_authority,
    Strategy.STATUS: _by_status,
    Strategy.COUNTER: rising,
    Strategy.READINGS: series,
    Strategy.SET: _by_set,
    Strategy.APPEND: appended,
    Strategy.LAST_WRITER: _by_last_writer,
    Strategy.ESCALATE: _undecided,
}
