"""One attempt of a sync in a process of its own, to be killed at any moment; the environment is the product's.

    python -m tests.endurance.attempt sync KEY PLANTS DAY...   the sync of running hours, of all plants or of some (with commas)
    python -m tests.endurance.attempt masters KEY              the sync of all plants' masters
    python -m tests.endurance.attempt run FIRST LAST [PARENT]  a Dagster run, or the next attempt of PARENT

Attempts of one sync share KEY. What it does it tells on standard output, a line each. With START_SIGNAL in its environment,
a sync says that it is ready and begins when the file of that name is there: so several begin together.
"""

import os
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import dagster as dg

from cmms_pipelines.settings import read_settings
from cmms_pipelines.storage.engine import cmms_address, make_engine
from cmms_pipelines.sync.equipment import sync_equipment
from cmms_pipelines.sync.plants import known_plants
from cmms_pipelines.sync.running_times import sync_running_times

JOB = "sync_running_times"
ALL = "all"
READY = "ready"


def sync_running_times_job() -> dg.JobDefinition:
    from cmms_pipelines.definitions import definitions  # noqa: PLC0415 - takes a second

    return definitions().resolve_job_def(JOB)


def sync(key: str, plants: str, *days: str) -> None:
    settings = read_settings()
    engine = make_engine(cmms_address(settings))
    selected = [date.fromisoformat(day) for day in days]
    codes = None if plants == ALL else plants.split(",")
    if signal := os.environ.get("START_SIGNAL"):
        tell(READY)
        while not Path(signal).exists():
            time.sleep(0.001)
    sync_running_times(engine, settings, selected, plant_codes=codes, sync_key=key, run_id=None, progress=tell)


def masters(key: str) -> None:
    settings = read_settings()
    engine = make_engine(cmms_address(settings))
    codes = known_plants(engine)["plant_code"].to_list()
    sync_equipment(engine, settings, codes, sync_key=key, run_id=None, progress=tell)


def tell(message: str) -> None:
    sys.stdout.write(f"{message}\n")
    sys.stdout.flush()


def run(first: str, last: str, parent: str | None = None) -> None:
    warnings.simplefilter("ignore")
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    job = dg.reconstructable(sync_running_times_job)
    with dg.DagsterInstance.get() as instance:
        options = dg.ReexecutionOptions(parent_run_id=parent) if parent else None
        result = dg.execute_job(job, instance, tags=tags, reexecution_options=options)
    sys.exit(0 if result.success else 1)


if __name__ == "__main__":
    {"sync": sync, "masters": masters, "run": run}[sys.argv[1]](*sys.argv[2:])
