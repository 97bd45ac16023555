"""Figures as they are found: each is told at once, so that whoever cuts a long run off keeps what was measured before.

What belongs here: which pieces are wanted, and the record of figures. What does not: measuring.
"""

import json
import statistics
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field


@dataclass
class Notes:
    """What to measure, by piece (all, where none is named), and the figures so far."""

    wanted: Collection[str] = ()
    figures: dict[str, float | int] = field(default_factory=dict)

    def wants(self, piece: str) -> bool:
        """Tell whether a piece is to be measured."""
        return not self.wanted or piece in self.wanted

    def say(self, line: str) -> None:
        """Tell of progress, beside the figures."""
        print(line, file=sys.stderr, flush=True)

    def add(self, found: dict[str, float | int] | dict[str, float]) -> None:
        """Keep figures, and tell them."""
        rounded = {name: round(value, 4) for name, value in found.items()}
        self.figures.update(rounded)
        self.say(f"  {json.dumps(rounded)}")

    def add_medians(self, rounds: Iterable[dict[str, float]]) -> list[dict[str, float]]:
        """Keep the median of each figure over rounds that have the same ones, again after each round; return all rounds."""
        found: list[dict[str, float]] = []
        for one in rounds:
            found.append(one)
            self.add({name: statistics.median(earlier[name] for earlier in found) for name in one})
        return found
