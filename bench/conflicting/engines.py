"""What decides a scenario: the engine that production uses, and the three simple ways that it is compared with.

What belongs here: playing a scenario's events through one of them. What does not: judging the result (`conflicting.scoring`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pydantic import JsonValue

from cmms_pipelines.domain.conflict_cases import Base, Case, Decision, Merge, Verdict
from cmms_pipelines.domain.conflict_policy import DEFAULT_POLICY
from cmms_pipelines.domain.conflicts import merge
from conflicting.worlds import Scenario

Decide = Callable[[Case, bool], Merge]
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Played:
    """The entity after all events, and every decision on the way."""

    values: Mapping[str, JsonValue]
    decisions: tuple[Decision, ...]
    is_tombstone: bool


def play(scenario: Scenario, decide: Decide) -> Played:
    """Give the events of a scenario to an engine, one after another, as production does."""
    base, ours = scenario.base, scenario.ours
    decisions: list[Decision] = []
    is_tombstone = False
    for event in scenario.events:
        case = Case(
            entity_type=scenario.entity_type,
            base=base,
            ours=ours,
            theirs=event.theirs,
            operation=event.operation,
            delivery=event.delivery,
            counter=scenario.counter,
            claims=scenario.claims,
            has_open_work=scenario.has_open_work,
        )
        merged = decide(case, scenario.clock_of_system_is_trusted)
        base = merged.base
        times = dict(ours.times)
        for decision in merged.decisions:
            if decision.verdict in {Verdict.TAKEN, Verdict.MERGED}:
                times[decision.field] = decision.theirs_at
        ours = replace(ours, values=merged.values, times=times)
        decisions += merged.decisions
        is_tombstone = is_tombstone or merged.is_tombstone
    return Played(ours.values, tuple(decisions), is_tombstone)


def engine(case: Case, is_clock_trusted: bool) -> Merge:
    """Decide as production does."""
    policy = DEFAULT_POLICY if is_clock_trusted else DEFAULT_POLICY.model_copy(update={"clock_is_trusted": False})
    return merge(case, policy)


def last_writer(case: Case, is_clock_trusted: bool) -> Merge:  # noqa: ARG001 - it knows nothing of clocks
    """The later statement of each field wins."""
    ours, theirs = case.ours.times, case.theirs.times
    return _overwritten(case, lambda name: (theirs.get(name) or _LONG_AGO) >= (ours.get(name) or _LONG_AGO))


def cmms_wins(case: Case, is_clock_trusted: bool) -> Merge:  # noqa: ARG001 - it knows nothing of clocks
    """Whatever the source states is taken."""
    return _overwritten(case, lambda _name: True)


def local_wins(case: Case, is_clock_trusted: bool) -> Merge:  # noqa: ARG001 - it knows nothing of clocks
    """What was edited here stays; the rest is taken."""
    agreed = case.base.values if case.base else {}
    return _overwritten(case, lambda name: case.ours.values.get(name) == agreed.get(name))


def _overwritten(case: Case, is_taken: Callable[[str], bool]) -> Merge:
    taken = {name: value for name, value in case.theirs.values.items() if is_taken(name)}
    is_gone = case.operation == "delete" and (is_taken("is_deleted") or bool(taken))
    base = case.base or Base({})
    return Merge(
        {**case.ours.values, **taken}, (), replace(base, values={**base.values, **case.theirs.values}), is_tombstone=is_gone
    )


ENGINES: Mapping[str, Decide] = {
    "ours": engine,
    "last_writer": last_writer,
    "cmms_wins": cmms_wins,
    "local_wins": local_wins,
}
