"""What a run of the benchmark is asked for, what it measured, and the JSON that it prints.

What belongs here: sums, medians and ratios. What does not: measuring.
"""

import os
import statistics
from dataclasses import dataclass, field
from typing import Any

PHASES = {"cold": 0, "unchanged": 0, "changed_10": 1}  # the variant that the source serves in each
CONTENDERS = ("ours", "floor", "dlt-default", "dlt-best", "dlt-keyed")


@dataclass(frozen=True)
class Plan:
    """What to run."""

    parts: tuple[str, ...]
    machines: int
    plants: int
    days: int
    repeat: int
    growth_days: tuple[int, ...]
    latency_ms: float
    is_quick: bool

    def phases_of(self, contender: str) -> dict[str, int]:
        """Return the phases of a contender; a quick run has dlt do the first alone, without masters (no key refers to them)."""
        return {"cold": 0} if self.is_quick and contender.startswith("dlt") else PHASES

    def has_masters(self, phase: str) -> bool:
        """Tell whether a phase syncs the masters too; a quick run does so in the first alone."""
        return phase == "cold" or not self.is_quick

    @property
    def rows(self) -> int:
        """Return how many readings there are."""
        return self.machines * self.days


@dataclass
class Figures:
    """What was measured: seconds of each repetition by contender and phase, and what else each said."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)
    peak_mb: dict[str, list[float]] = field(default_factory=dict)
    content: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, contender: str, phase: str, seconds: float, said: dict[str, Any], peak_mb: float | None = None) -> None:
        """Note one repetition of a phase; phases of masters are named `equipment_...`."""
        self.seconds.setdefault(contender, {}).setdefault(phase, []).append(round(seconds, 3))
        self.last.setdefault(contender, {})[phase] = said
        if peak_mb is not None:
            self.peak_mb.setdefault(contender, []).append(peak_mb)

    def median(self, contender: str, phase: str) -> float | None:
        """Return the median seconds of a phase, if it was run."""
        found = self.seconds.get(contender, {}).get(phase)
        return statistics.median(found) if found else None


def report(plan: Plan, figures: Figures, night: dict[str, Any] | None, growth: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the JSON of a run; what was not run is null."""

    def rate(contender: str, phase: str, rows: int = plan.rows) -> int | None:
        seconds = figures.median(contender, phase)
        return None if seconds is None else round(rows / seconds)

    def ratio(contender: str, phase: str) -> float | None:
        mine, theirs = figures.median("ours", phase), figures.median(contender, phase)
        return None if mine is None or theirs is None else round(theirs / mine, 2)

    of_ours = figures.last.get("ours", {})
    return {
        "rows": plan.rows,
        "machines": plan.machines,
        "repetitions": plan.repeat,
        **{f"rows_per_s_{phase}": rate("ours", phase) for phase in PHASES},
        "ratio_to_dlt_default": ratio("dlt-default", "cold"),
        "ratio_to_dlt_best": ratio("dlt-best", "cold"),
        "ratio_to_dlt_keyed": ratio("dlt-keyed", "cold"),
        "ratio_to_floor_cold": ratio("floor", "cold"),
        "ratio_to_floor_unchanged": ratio("floor", "unchanged"),
        "ratios": {
            name: {phase: ratio(name, phase) for phase in [*PHASES, *(f"equipment_{phase}" for phase in PHASES)]}
            for name in CONTENDERS[1:]
            if name in figures.seconds
        },
        "peak_mb": max(figures.peak_mb.get("ours", [0.0])) or None,
        "peak_mb_by_contender": {name: max(found) for name, found in figures.peak_mb.items()},
        "seconds_by_stage": {phase: of_ours[phase]["seconds_by_stage"] for phase in PHASES if phase in of_ours},
        **{
            name: {phase: of_ours[phase][name] for phase in PHASES if phase in of_ours}
            for name in ("start_s", "sync_s", "checks_s")
        },
        **{
            name: {
                contender: {phase: of_phases[phase][name] for phase in PHASES if name in of_phases.get(phase, {})}
                for contender, of_phases in figures.last.items()
                if contender in ("ours", "floor")
            }
            for name in ("cpu_s", "database_cpu_s")
        },
        "night_100k_s": night["work_s"] if night and plan.machines == 100_000 else None,
        "night": night,
        "growth": growth,
        "equipment_rows_per_s": {
            name: {phase: rate(name, f"equipment_{phase}", plan.machines) for phase in PHASES} for name in figures.seconds
        },
        "rows_per_s_by_contender": {name: {phase: rate(name, phase) for phase in PHASES} for name in figures.seconds},
        "seconds": figures.seconds,
        "spread": {
            name: {phase: round((max(found) - min(found)) / statistics.median(found), 3) for phase, found in phases.items()}
            for name, phases in figures.seconds.items()
        },
        "is_content_equal_to_floor": (
            figures.content["ours"] == figures.content["floor"] if {"ours", "floor"} <= set(figures.content) else None
        ),
        "last": figures.last,
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "latency_ms": plan.latency_ms,
    }
