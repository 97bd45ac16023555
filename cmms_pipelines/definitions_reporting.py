"""The front door of the second code location: the reports.

It stands apart from `definitions.py` because it needs dbt, which takes seconds to import: the runs of the first location start
with every burst of events and must not pay for it. Lineage crosses the two by asset key.
"""

import dagster as dg

from cmms_pipelines.defs.reporting.definitions import build
from cmms_pipelines.settings import read_settings


@dg.definitions
def defs() -> dg.Definitions:
    """Return the reports for the environment of this process."""
    return build(read_settings())
