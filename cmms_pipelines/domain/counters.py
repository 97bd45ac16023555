"""Counters of running hours across days: where one went back, why, and what a machine has run in its whole life.

Policy: a reading is compared with the reading before it, of whatever kind, not with the highest ever seen. A decrease is an
event, and from its day on the machine's lifetime hours are the counter plus an offset, so that they go on rising.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


class CounterEventKind(StrEnum):
    """Why a counter shows less than before: it passed its limit, was swapped, or was set back for no known reason."""

    ROLLOVER = "rollover"
    REPLACEMENT = "replacement"
    RESET = "reset"


@dataclass(frozen=True)
class CounterChange:
    """A decrease, explained: hours run since the reading before (None where nobody can know) and the offset it adds."""

    kind: CounterEventKind
    running_hours: float | None
    offset_hours: float


def explain_decrease(
    before: float, after: float, *, overflow_at: float | None = None, is_replaced: bool = False
) -> CounterChange:
    """Explain a counter that went from `before` down to `after` (hours; quirks 17 to 19).

    Raises:
        ValueError: the counter did not go down, or `before` lies beyond the overflow limit.
    """
    if after >= before:
        raise ValueError(f"a counter that goes from {before} to {after} did not decrease")
    if is_replaced:
        return CounterChange(CounterEventKind.REPLACEMENT, None, before)
    if overflow_at is not None:
        if before > overflow_at:
            raise ValueError(f"the counter {before} lies beyond its overflow limit {overflow_at}")
        return CounterChange(CounterEventKind.ROLLOVER, overflow_at - before + after, overflow_at)
    return CounterChange(CounterEventKind.RESET, None, before - after)


def counter_events(readings: "pd.DataFrame") -> "pd.DataFrame":
    """Find the decreases in consecutive readings of machines.

    Args:
        readings: equipment_id, date, cumulative_hours (hours), any order; each machine's readings without a gap between them.

    Returns:
        equipment_id, date, kind, counter_before, counter_after, offset_hours, one row per decrease. A machine's first
        reading has none before it and yields no event.
    """
    import pandas as pd  # noqa: PLC0415 - events explain a decrease too, and their run must start fast

    known = readings.dropna(subset=["cumulative_hours"]).sort_values(["equipment_id", "date"], kind="stable")
    before = known.groupby("equipment_id")["cumulative_hours"].shift()
    fallen = known.assign(counter_before=before).loc[known["cumulative_hours"] < before]
    pairs = zip(fallen["counter_before"].to_list(), fallen["cumulative_hours"].to_list(), strict=True)
    changes = [explain_decrease(higher, lower) for higher, lower in pairs]
    return pd.DataFrame(
        {
            "equipment_id": fallen["equipment_id"].to_numpy(),
            "date": fallen["date"].to_numpy(),
            "kind": pd.Series([change.kind.value for change in changes], dtype="str"),
            "counter_before": fallen["counter_before"].to_numpy(),
            "counter_after": fallen["cumulative_hours"].to_numpy(),
            "offset_hours": pd.Series([change.offset_hours for change in changes], dtype="float64"),
        }
    )
