"""How many true conflicts are decided without a person, how many of these rightly, and what is lost silently.

    python bench/conflicts.py [--quick] [--json] [--table]

Labelled scenarios, drawn from seeds, go through `cmms_pipelines.domain.conflicts.merge`, as events, syncs and local edits do;
beside it through three simple ways: the last writer wins, the CMMS wins, the local edit wins. Classes, labels and the weights of
the mix are explained in docs/conflicts.md.

Figures are over true conflicts only: fields that both sides changed to values that mean different things. `coverage`: the
weighted share that is decided without a person; `correctness`: the weighted share of these that ended as the label says;
`escalate_recall`: of those that only a person may decide, the share that went to one; `silent_losses`: changes of a side that are
neither in the result nor in any decision. `unweighted` counts all conflicts alike; `held_out` are other seeds; `adversarial` are
classes that were thought out to break the engine when it was done, labelled before their first run; `sensitivity` is our coverage
under other weightings of the classes (`conflicting/sensitivity.py`).
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from conflicting.adversarial import ADVERSARIAL
from conflicting.adversarial_labels import ADVERSARIAL_LABELS
from conflicting.engines import ENGINES, play
from conflicting.labels import LABELS, Label
from conflicting.scenarios import CLASSES, Builder
from conflicting.scoring import Tally, judge
from conflicting.sensitivity import sensitivity
from conflicting.worlds import Scenario, World

SEEDS = 25
QUICK_SEEDS = 5
HELD_OUT_FROM = 10_000


@dataclass
class Score:
    """What one engine made of many scenarios, by class."""

    by_class: dict[str, Tally] = field(default_factory=dict)

    def whole(self) -> Tally:
        """Return all classes together, each conflict counted once."""
        whole = Tally()
        for tally in self.by_class.values():
            whole.add(tally)
        return whole

    def weighted(self, labels: Mapping[str, Label]) -> dict[str, float]:
        """Return coverage, correctness and recall in the mix of `labels`: the shares of each class, by its weight."""
        covered = right = recalled = conflicts = must = resolved = 0.0
        for name, tally in self.by_class.items():
            if not tally.conflicts:
                continue
            each = labels[name].weight / tally.conflicts
            conflicts += each * tally.conflicts
            resolved += each * tally.resolved
            covered += each * tally.resolved
            right += each * tally.right
            must += each * tally.must_escalate
            recalled += each * tally.escalated_as_they_must
        return {
            "coverage": round(covered / conflicts, 6),
            "correctness": round(right / resolved, 6) if resolved else 1.0,
            "escalate_recall": round(recalled / must, 6) if must else 1.0,
        }


def scenarios(classes: Mapping[str, Builder], seeds: range) -> list[tuple[str, Scenario]]:
    """Return scenarios with the names of their classes, in an order that says nothing about them."""
    drawn = [(name, build(World(f"{name}/{seed}"))) for name, build in classes.items() for seed in seeds]
    random.Random(0).shuffle(drawn)  # noqa: S311 - an order, not a secret
    return drawn


def score(drawn: list[tuple[str, Scenario]], labels: Mapping[str, Label]) -> dict[str, Score]:
    """Return the score of each engine; the engine gets the scenario, the judge alone gets the label."""
    scores: dict[str, Score] = {}
    for engine, decide in ENGINES.items():
        scores[engine] = Score()
        for name, scenario in drawn:
            played = play(scenario, decide)
            scores[engine].by_class.setdefault(name, Tally()).add(judge(scenario, labels[name], played))
    return scores


def figures(scores: Mapping[str, Score], labels: Mapping[str, Label]) -> dict[str, object]:
    """Return the figures of one set of scenarios: ours first, the others under their names."""
    found: dict[str, object] = {}
    for engine, one in scores.items():
        whole = one.whole().figures()
        own: dict[str, object] = {**one.weighted(labels), "silent_losses": whole["silent_losses"], "unweighted": whole}
        found |= own if engine == "ours" else {engine: own}
    return found


def by_class(scores: Mapping[str, Score]) -> dict[str, dict[str, dict[str, float | int]]]:
    """Return the figures of each class and engine."""
    names = sorted(scores["ours"].by_class)
    return {name: {engine: one.by_class[name].figures() for engine, one in scores.items()} for name in names}


def table(labels: Mapping[str, Label], scores: Mapping[str, Score]) -> str:
    """Return the classes as a Markdown table: label, weight, why, and what became of them."""
    total = sum(label.weight for label in labels.values())
    lines = ["| class | expected | share of true conflicts | why | decided | right |", "|---|---|---|---|---|---|"]
    for name, label in labels.items():
        tally = scores["ours"].by_class[name]
        share = f"{100 * label.weight / total:.1f} %" if label.weight else "none"
        if tally.conflicts:
            outcome = f"{tally.resolved} of {tally.conflicts} | {tally.right} of {tally.resolved}"
        else:
            outcome = f"no conflict | {tally.checks_right} of {tally.checks} fields"
        lines.append(f"| `{name}` | {label.outcome} | {share} | {label.why} | {outcome} |")
    return "\n".join(lines)


def main() -> None:
    """Draw, decide, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} variations of each class instead of {SEEDS}")
    parser.add_argument("--table", action="store_true", help="print the classes as a Markdown table")
    arguments = parser.parse_args()
    count = QUICK_SEEDS if arguments.quick else SEEDS
    started = time.perf_counter()
    scores = score(scenarios(CLASSES, range(count)), LABELS)
    held_out = score(scenarios(CLASSES, range(HELD_OUT_FROM, HELD_OUT_FROM + count)), LABELS)
    adversarial = score(scenarios(ADVERSARIAL, range(count)), ADVERSARIAL_LABELS)
    result = figures(scores, LABELS) | {
        "classes": len(CLASSES),
        "variations": count,
        "held_out": figures(held_out, LABELS),
        "adversarial": {engine: one.whole().figures() for engine, one in adversarial.items()},
        "sensitivity": sensitivity(scores["ours"].by_class, LABELS),
        "by_class": by_class(scores),
        "adversarial_by_class": by_class(adversarial),
        "seconds": round(time.perf_counter() - started, 2),
    }
    for kind, one in (("scenarios", scores), ("held out", held_out), ("adversarial", adversarial)):
        for name, tally in one["ours"].by_class.items():
            for failure in tally.failures[:3]:
                print(f"{kind}: {name}: {failure}", file=sys.stderr)
    if arguments.table:
        print(table(LABELS, scores))
        print(table(ADVERSARIAL_LABELS, adversarial))
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        if not isinstance(value, dict):
            print(f"{name:20} {value}")
    for name in ("unweighted", "last_writer", "cmms_wins", "local_wins", "held_out", "adversarial", "sensitivity"):
        print(f"{name:20} {json.dumps(result[name])}")


if __name__ == "__main__":
    main()
