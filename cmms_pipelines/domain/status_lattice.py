"""Two statuses of one work order: which of them is further, and where the two contradict each other.

What belongs here: the order of statuses. What does not: whose word counts where it has no answer (`domain.conflict_policy`).
"""

from enum import StrEnum

from cmms_pipelines.domain.payload_types import WorkOrderStatus as Status

_LEVELS = {
    Status.REQUESTED: 0,
    Status.OPEN: 1,
    Status.SCHEDULED: 2,
    Status.IN_PROGRESS: 3,
    Status.ON_HOLD: 3,
    Status.COMPLETED: 4,
    Status.CLOSED: 5,
}
_BEFORE_ALL = -1
DONE = frozenset((Status.COMPLETED, Status.CLOSED))
OVER = DONE | {Status.CANCELLED}
_TOUCHED = DONE | {Status.IN_PROGRESS, Status.ON_HOLD}


class Outcome(StrEnum):
    """What the lattice says of two statuses that differ."""

    OURS = "ours"
    THEIRS = "theirs"
    REOPENED = "reopened"
    """The source undid a completion that both sides knew of: its word, if it is the newer one."""
    CONTRADICTION = "contradiction"
    """Work that somebody has done, or is doing, against a status that says there is none."""
    NO_ORDER = "no_order"


def compare(base: Status | None, ours: Status, theirs: Status) -> Outcome:
    """Return what `ours` and `theirs` are to each other, both having left `base` (None: they never agreed).

    - Forward on both sides: the further one. `in_progress` and `on_hold` are side by side.
    - Cancelled against work that was begun or done is a contradiction, whichever side says which; against work that nobody began
      it has no order.
    - Going back on one side while the other completes is a contradiction, unless the base was done: then it is a reopening.
    """
    if Status.CANCELLED in (ours, theirs):
        other = theirs if ours is Status.CANCELLED else ours
        return Outcome.CONTRADICTION if other in _TOUCHED else Outcome.NO_ORDER
    was = _BEFORE_ALL if base is None or base is Status.CANCELLED else _LEVELS[base]
    here, there = _LEVELS[ours], _LEVELS[theirs]
    if base in DONE:
        return Outcome.REOPENED if theirs not in DONE and ours in DONE else Outcome.NO_ORDER
    if there < was and ours in DONE:
        return Outcome.CONTRADICTION
    if here == there or (here < was and there < was):
        return Outcome.NO_ORDER
    if there < was:
        return Outcome.NO_ORDER
    return Outcome.OURS if here > there else Outcome.THEIRS
