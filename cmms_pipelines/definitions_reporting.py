"""The front door of the second code location: the reports.

It stands apart from `definitions.py` because it needs dbt, which takes seconds to import: the runs of the first location start
with every burst of events and must not pay for it. Lineage crosses the two by asset key.
"""

import logging

import dagster as dg

from cmms_pipelines.defs.reporting.definitions import build
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage.settings_at_start import settings_at_start
from cmms_pipelines.storage.settings_in_force import AT_LOAD


@dg.definitions
def defs() -> dg.Definitions:
    """Return the reports for the environment of this process and what is configured in the database."""
    return build(settings_at_start(read_settings(), logging.getLogger(__name__).warning, AT_LOAD))
