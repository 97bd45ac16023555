"""The operational tables, as assets that one can see."""

import dagster as dg

from cmms_pipelines.defs.metadata import OWNERS, definition_metadata
from cmms_pipelines.storage import tables

_OBSERVED = {
    tables.equipment_groups: "Groups of machines, made by the classification rules during equipment syncs.",
    tables.api_sync_logs: "The log of syncs: one row per sync with its scope, its books and how it ended.",
    tables.sync_rejections: "The quarantine of refused records and sync errors: each whole, with rule, value and advice.",
    tables.api_calls: "Every request to the external system: endpoint, status, attempts, milliseconds, bytes, rows.",
    tables.counter_events: "Resets, rollovers and replacements of running-hours counters.",
}

observed = [
    dg.AssetSpec(
        ["cmms", table.name],
        group_name="operations",
        owners=OWNERS,
        kinds={"postgres"},
        description=description,
        metadata=definition_metadata(table),
    )
    for table, description in _OBSERVED.items()
]
