"""Judge what an engine made of a scenario against the label of its class, without anything of the engine.

What belongs here: what counts as right, as escalated and as lost. What does not: the labels (`conflicting.labels`) and playing a
scenario (`conflicting.engines`).
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from pydantic import JsonValue

from conflicting.engines import Played
from conflicting.labels import MIXED, Label, Outcome
from conflicting.worlds import FORWARD, Scenario

_WORDS = {
    "teco": "completed", "canceled": "cancelled", "void": "cancelled", "waiting_for_parts": "on_hold", "reopened": "open",
    "1": "critical", "very_high": "critical", "urgent": "critical",
}  # fmt: skip


@dataclass
class Tally:
    """What happened to the contested fields of some scenarios, and to everything else in them."""

    conflicts: int = 0
    resolved: int = 0
    right: int = 0
    must_escalate: int = 0
    escalated_as_they_must: int = 0
    silent_losses: int = 0
    checks: int = 0
    checks_right: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        """Count another tally in."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def figures(self) -> dict[str, float | int]:
        """Return the shares; 1 where there was nothing to be right or wrong about."""
        return {
            "coverage": _share(self.resolved, self.conflicts),
            "correctness": _share(self.right, self.resolved),
            "escalate_recall": _share(self.escalated_as_they_must, self.must_escalate),
            "coverage_of_decidable": _share(
                self.resolved - (self.must_escalate - self.escalated_as_they_must), self.conflicts - self.must_escalate
            ),
            "silent_losses": self.silent_losses,
            "conflicts": self.conflicts,
            "checks_right": _share(self.checks_right, self.checks),
            "checks": self.checks,
        }


def judge(scenario: Scenario, label: Label, played: Played) -> Tally:
    """Return what became of one scenario."""
    tally = Tally()
    escalated = {decision.field for decision in played.decisions if decision.verdict == "escalated"}
    values = {**played.values, "is_deleted": played.is_tombstone or played.values.get("is_deleted", False)}
    names = [*scenario.contested, *(name for name in scenario.ours.values if name not in scenario.contested)]
    for name in names:
        is_contested = name in scenario.contested
        outcome = _outcome(label, name, scenario)
        expected = None if outcome is Outcome.ESCALATE else _meaning(_expected(outcome, name, scenario))
        is_right = name not in escalated and _meaning(values.get(name)) == expected
        if not is_contested:
            tally.checks += 1
            tally.checks_right += is_right
            if not is_right:
                tally.failures.append(f"{name}: {values.get(name)!r} for {_expected(outcome, name, scenario)!r}")
            continue
        tally.conflicts += 1
        if outcome is Outcome.ESCALATE:
            tally.must_escalate += 1
            tally.escalated_as_they_must += name in escalated
        if name not in escalated:
            tally.resolved += 1
            tally.right += is_right and outcome is not Outcome.ESCALATE
        if name in escalated if outcome is not Outcome.ESCALATE else name not in escalated:
            tally.failures.append(f"{name}: {'escalated' if name in escalated else 'decided'}, expected {outcome}")
        elif name not in escalated and not is_right:
            tally.failures.append(f"{name}: {values.get(name)!r} is not {outcome}")
    lost = [name for name in _lost(scenario, played) if not _agree(label, name, scenario)]
    tally.silent_losses = len(lost)
    tally.failures += [f"{name}: lost silently" for name in lost]
    return tally


def _outcome(label: Label, name: str, scenario: Scenario) -> Outcome:
    if name not in scenario.contested:
        return Outcome.UNCHANGED if _agree(label, name, scenario) else Outcome.AS_STATED
    return MIXED[name] if label.outcome is Outcome.AS_STATED else label.outcome


def _agree(label: Label, name: str, scenario: Scenario) -> bool:
    """Return whether the two sides say the same of a field in different forms: that is what such a class is about."""
    return label.outcome is Outcome.UNCHANGED and name in scenario.changed_here and name in scenario.changed_there


def _expected(outcome: Outcome, name: str, scenario: Scenario) -> JsonValue:
    ours, theirs = scenario.ours.values.get(name), _stated(scenario, name)
    base = scenario.base.values.get(name) if scenario.base else None
    here, there, before = (Counter(map(str, _items(side))) for side in (ours, theirs, base))
    known = {json.dumps(item, sort_keys=True): item for side in (base, ours, theirs) for item in _items(side)}
    is_later_there = _time_there(scenario, name) > (scenario.ours.times.get(name) or _NEVER)
    states = [state for side in (ours, theirs) if (state := json.loads(_meaning(side))) in FORWARD] if name == "status" else []
    expected: dict[Outcome, JsonValue] = {
        Outcome.AS_STATED: theirs if name in scenario.changed_there else ours,
        Outcome.SOURCE: theirs,
        Outcome.FURTHER: max(states, key=FORWARD.index, default=None),
        Outcome.LATER: theirs if is_later_there else ours,
        Outcome.UNION: list(((before & here & there) + (here - before) + (there - before)).elements()),
        Outcome.APPENDED: list(known.values()),
        Outcome.BOTH_READINGS: list(known.values()),
        Outcome.DELETED: name == "is_deleted",
    }
    return expected.get(outcome, ours)


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def _stated(scenario: Scenario, name: str) -> JsonValue:
    said = [event.theirs for event in scenario.events if name in event.theirs.values]
    if said:
        return max(said, key=lambda side: side.times.get(name) or _NEVER).values[name]
    return scenario.base.values.get(name) if scenario.base else None


def _time_there(scenario: Scenario, name: str) -> datetime:
    return scenario.events[-1].theirs.times.get(name) or _NEVER


def _lost(scenario: Scenario, played: Played) -> list[str]:
    """Return the fields of which a side's change is neither in the result nor in any decision."""
    told: dict[str, set[str]] = {name: set() for name in (*scenario.changed_here, *scenario.changed_there)}
    for decision in played.decisions:
        for side in (decision.ours, decision.theirs):
            told.setdefault(decision.field, set()).update(_pieces(side))
    lost: list[str] = []
    for name, recorded in told.items():
        kept = _pieces(played.values.get(name)) | recorded
        if name in ("is_deleted", "is_active") and (played.is_tombstone or recorded):
            continue
        here = _pieces(scenario.ours.values.get(name)) if name in scenario.changed_here else set()
        there = _pieces(_stated(scenario, name)) if name in scenario.changed_there else set()
        if not (here | there) <= kept:
            lost.append(name)
    return lost


def _pieces(value: JsonValue) -> set[str]:
    return {_meaning(item) for item in value} if isinstance(value, list) else {_meaning(value)}


def _items(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _meaning(value: JsonValue) -> str:
    """Return a text that is the same for values that mean the same, by means of the scorer's own."""
    if isinstance(value, list):
        return json.dumps(sorted(_meaning(item) for item in value))
    if isinstance(value, dict):
        if set(value) == {"value", "unit"}:
            return _meaning(f"{value['value']} {value['unit']}")
        return json.dumps({key: _meaning(item) for key, item in value.items()}, sort_keys=True)
    if isinstance(value, bool) or value is None or not str(value).strip():
        return json.dumps(value or None)
    text = str(value).strip()
    word = text.lower().replace(" ", "_")
    return _as_amount(text) or _as_moment(text) or json.dumps(_WORDS.get(word, word))


def _as_amount(text: str) -> str | None:
    amount, _, unit = text.partition(" ")
    try:
        number = Decimal(amount.replace(",", "")) / {"": 1, "h": 1, "min": 60, "s": 3600}[unit]
        return str(number.quantize(Decimal("0.0001")))
    except (InvalidOperation, KeyError):
        return None


def _as_moment(text: str) -> str | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="milliseconds")
    except ValueError:
        return None


def _share(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 1.0
