"""What is usual for a plant on a weekday: a band around the median that a few odd days cannot widen.

What belongs here: the band and its judgement. What does not: where the counts come from (`storage.alert_days`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

MAD_TO_SIGMA = 1.4826
"""The median absolute deviation of normal data, times this, is its standard deviation."""
WIDTH = 3.0


@dataclass(frozen=True)
class Band:
    """What is usual: `centre` is the median, and between `low` and `high` nothing is odd."""

    centre: float
    low: float
    high: float
    days: int

    def is_above(self, count: float) -> bool:
        """Tell whether `count` is more than usual; the border itself is usual."""
        return count > self.high


def usual_band(counts: Sequence[float], *, least_days: int, floor: float, floor_share: float) -> Band | None:
    """Return the band of earlier days of the same weekday, median +- 3 x 1.4826 x MAD; None with fewer than `least_days`.

    Args:
        counts: one for each earlier day, in any order.
        least_days: with fewer nobody can say what is usual.
        floor: the band reaches at least so far above and below the median: where all days were alike the MAD is 0, and one record
            more would cry wolf.
        floor_share: the same as a share of the median.
    """
    if len(counts) < max(least_days, 1):
        return None
    centre = float(median(counts))
    mad = float(median(abs(count - centre) for count in counts))
    half = max(WIDTH * MAD_TO_SIGMA * mad, floor, floor_share * centre)
    return Band(centre, max(0.0, centre - half), centre + half, len(counts))
