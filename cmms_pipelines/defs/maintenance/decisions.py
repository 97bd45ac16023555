"""When to start a drain: a pure decision on what the inbox and the runs look like."""

from collections.abc import Sequence
from dataclasses import dataclass

from cmms_pipelines.storage.drain_turns import DrainState

STARTING_S = 15.0
"""A run that started longer ago than this and has not taken its place never will: it is ending, or was killed."""


@dataclass(frozen=True)
class DrainRuns:
    """Runs of the drain job that are not over: how many wait to be started, and how long the others have been running."""

    waiting: int
    started_ago_s: Sequence[float]


@dataclass(frozen=True)
class Decision:
    """Whether to start a drain now and why; `is_settled` is False where the answer may change within a moment."""

    start: bool
    reason: str
    is_settled: bool = True


def needs_runs(has_due: bool, drain: DrainState) -> bool:
    """Return whether the runs matter at all; most ticks need not ask for them."""
    return drain is DrainState.LEAVING or (has_due and drain is DrainState.ABSENT)


def decide(has_due: bool, drain: DrainState, runs: DrainRuns) -> Decision:
    """Start a drain where events are due and nobody is at them, and where the one at work asks for its successor."""
    if not needs_runs(has_due, drain):
        return Decision(False, "Nothing is due." if drain is DrainState.ABSENT else "A drain is at work.")
    if runs.waiting:
        return Decision(False, "A drain is about to start.", is_settled=False)
    if min(runs.started_ago_s, default=STARTING_S) < STARTING_S:
        return Decision(False, "A drain is starting.", is_settled=False)
    if drain is DrainState.LEAVING:
        return Decision(True, "The drain at work is at the end of its life.")
    return Decision(True, "Events are due.")
