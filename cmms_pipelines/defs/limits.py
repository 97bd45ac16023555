"""How long a run of an asset may take, and its place in the queue: in its own job, and wherever else it is materialized.

What belongs here: those figures. What does not: the limits of jobs without assets, which stand beside them. Every process of
Dagster imports this module with its instance: it must cost nothing.
"""

from collections.abc import Iterable
from typing import NamedTuple

import dagster as dg

MAX_RUNTIME, PRIORITY = "dagster/max_runtime", "dagster/priority"


class Limits(NamedTuple):
    """After how many seconds a run is stopped, and how urgent it is (higher first)."""

    max_runtime_s: int
    priority: int

    def tags(self) -> dict[str, str]:
        """Return them as the tags of a run."""
        return {MAX_RUNTIME: str(self.max_runtime_s), PRIORITY: str(self.priority)}


OF_ASSETS = {
    dg.AssetKey(["cmms", "plants"]): Limits(600, 20),
    dg.AssetKey(["cmms", "equipment"]): Limits(1800, 10),
    dg.AssetKey(["cmms", "equipment_running_times"]): Limits(3600, 10),
    dg.AssetKey(["cmms", "work_orders"]): Limits(1200, 10),
}
OF_ANY_OTHER = Limits(3600, 0)
"""Of the assets that are not named above, together; the same time as `max_runtime_seconds` in `dagster.yaml`."""


def limits_of(assets: Iterable[dg.AssetKey]) -> Limits:
    """Return the limits of a run of these assets: it has the time of all of them, and is as urgent as the least urgent one."""
    found = {key: OF_ASSETS.get(key) for key in assets}
    own = [limits for limits in found.values() if limits is not None]
    parts = own if own and len(own) == len(found) else [*own, OF_ANY_OTHER]
    return Limits(sum(part.max_runtime_s for part in parts), min(part.priority for part in parts))
