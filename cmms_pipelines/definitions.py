"""The Dagster front door: `dagster` and `workspace.yaml` load the main code location from here."""

import dagster as dg

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.settings import read_settings


@dg.definitions
def definitions() -> dg.Definitions:
    """Return all definitions of the main code location, for the environment of this process."""
    return build_defs(read_settings())
