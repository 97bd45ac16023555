"""What must be true of the running hours after a sync."""

import dagster as dg

from cmms_pipelines.defs.resources import Warehouse
from cmms_pipelines.defs.syncing import accounts_check


def build(running_times: dg.AssetsDefinition) -> list[dg.AssetChecksDefinition]:
    """Return the checks of the asset `running_times`."""

    @dg.asset_check(
        asset=running_times,
        name="every_decrease_is_an_event",
        description="Where a counter is lower than at the reading before, a row of cmms.counter_events says why.",
    )
    def every_decrease_is_an_event(warehouse: Warehouse) -> dg.AssetCheckResult:
        """Look for counters of the last weeks that went back unnoticed."""
        from cmms_pipelines.storage.quality import unexplained_decreases  # noqa: PLC0415 - keeps start-up light

        unexplained = unexplained_decreases(warehouse.engine())
        return dg.AssetCheckResult(passed=unexplained == 0, metadata={"unexplained_decreases": unexplained})

    return [accounts_check(running_times, "running_times"), every_decrease_is_an_event]
