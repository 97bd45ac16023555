"""How much of the coverage is the engine, and how much the mix: the same outcomes under other weightings of the classes.

What belongs here: weightings, and coverage, correctness and recall under them. What does not: the outcomes themselves
(`conflicting.scoring`) and the published weights (`conflicting.labels`).

Nothing is decided again: per class it is known how many conflicts there were, and what became of them.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from conflicting.labels import Label
from conflicting.scoring import Tally

DRAWS = 10_000
PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
TARGET = 0.95


@dataclass(frozen=True)
class _Class:
    weight: float
    covered: float
    must_escalate: float


def sensitivity(tallies: Mapping[str, Tally], labels: Mapping[str, Label]) -> dict[str, object]:
    """Return the coverage of one engine under other weightings than the published one.

    - `uniform_by_class`: each class with contested fields counts the same. `of_all_conflicts`: each conflict does.
    - `people_half`, `people_double`: all classes that only a person may decide weigh half or twice as much.
    - `one_class`: each class in turn weighs half or twice as much; lowest and highest coverage, and the classes.
    - `dirichlet`: all weights drawn anew around the published ones, as far off as if the mix had been counted in so many
      conflicts; `each_by_a_factor`: each weight multiplied by a random factor (log-normal), of 2 or less in two thirds of the
      draws. Percentiles, and the share of draws that reach the target.
    """
    classes = {
        name: _Class(labels[name].weight, tally.resolved / tally.conflicts, tally.must_escalate / tally.conflicts)
        for name, tally in tallies.items()
        if tally.conflicts
    }
    conflicts = {name: float(tallies[name].conflicts) for name in classes}
    published = {name: one.weight for name, one in classes.items()}
    of_people = {name for name, one in classes.items() if one.must_escalate == 1}
    singles = {
        (name, factor): _coverage(classes, {**published, name: published[name] * factor})
        for name in classes
        for factor in (0.5, 2)
    }
    lowest, highest = min(singles, key=lambda one: singles[one]), max(singles, key=lambda one: singles[one])
    chance = random.Random(0)  # noqa: S311 - reproducible draws
    return {
        "published": _rounded(_coverage(classes, published)),
        "share_for_people": _rounded(_share_for_people(classes, published)),
        "uniform_by_class": _rounded(_coverage(classes, dict.fromkeys(classes, 1.0))),
        "of_all_conflicts": _rounded(_coverage(classes, conflicts)),
        "people_half": _rounded(_coverage(classes, _times(published, of_people, 0.5))),
        "people_double": _rounded(_coverage(classes, _times(published, of_people, 2))),
        "one_class": {
            "lowest": {"class": lowest[0], "factor": lowest[1], "coverage": _rounded(singles[lowest])},
            "highest": {"class": highest[0], "factor": highest[1], "coverage": _rounded(singles[highest])},
            "below_target": sorted(f"{name} x {factor}" for (name, factor), value in singles.items() if value < TARGET),
        },
        "dirichlet": {
            str(counted): _draws(classes, lambda n=counted: _dirichlet(chance, published, n)) for counted in (100, 300, 1000)
        },
        "each_by_a_factor": _draws(
            classes, lambda: {name: weight * chance.lognormvariate(0, 0.693) for name, weight in published.items()}
        ),
        "draws": DRAWS,
    }


def _coverage(classes: Mapping[str, _Class], weights: Mapping[str, float]) -> float:
    return sum(weights[name] * one.covered for name, one in classes.items()) / sum(weights.values())


def _share_for_people(classes: Mapping[str, _Class], weights: Mapping[str, float]) -> float:
    return sum(weights[name] * one.must_escalate for name, one in classes.items()) / sum(weights.values())


def _times(weights: Mapping[str, float], names: set[str], factor: float) -> dict[str, float]:
    return {name: weight * (factor if name in names else 1) for name, weight in weights.items()}


def _dirichlet(chance: random.Random, weights: Mapping[str, float], counted: float) -> dict[str, float]:
    total = sum(weights.values())
    return {name: chance.gammavariate(counted * weight / total, 1) for name, weight in weights.items()}


def _draws(classes: Mapping[str, _Class], weights: Callable[[], Mapping[str, float]]) -> dict[str, object]:
    found = sorted(_coverage(classes, weights()) for _ in range(DRAWS))
    percentiles = {f"p{percent}": _rounded(found[min(DRAWS * percent // 100, DRAWS - 1)]) for percent in PERCENTILES}
    return {**percentiles, "reach_target": _rounded(sum(value >= TARGET for value in found) / DRAWS)}


def _rounded(value: float) -> float:
    return round(value, 4)
