"""The Dagster front door: `dagster` and `workspace.yaml` load the main code location from here."""

import logging

import dagster as dg

from cmms_pipelines.defs.build import build_defs
from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage.settings_at_start import settings_at_start
from cmms_pipelines.storage.settings_in_force import AT_LOAD


@dg.definitions
def definitions() -> dg.Definitions:
    """Return all definitions of the main code location, for the environment of this process and what is configured."""
    return build_defs(settings_at_start(read_settings(), logging.getLogger(__name__).warning, AT_LOAD))
