"""One sync of ours in a process of its own, as `cmms sync` does it: through the Dagster asset, on a real Dagster instance.

    python -m syncing.ours plants|equipment
    python -m syncing.ours running-times FIRST_DAY LAST_DAY

The environment says where database, Dagster's home and source are. The last line of the output is JSON: `start_s` from the start
of the process until the definitions and the code of the sync are loaded, as dlt's is when its clock starts; `run_s` of the
whole run; `checks_s` of its asset checks, which look over the tables once more; `work_s`, the run without them (Dagster's own
work included); `cpu_s`, the processor time of the run in this process, its checks included; `sync_s` of the sync alone, by its
log; the books and `seconds_by_stage`, added up over threads.
"""

import importlib
import json
import os
import sys
import time
import warnings
from typing import Any

import dagster as dg

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
_ASSETS = {"plants": "plants", "equipment": "equipment", "running-times": "equipment_running_times"}
_CODE = {"plants": "plants", "equipment": "equipment", "running-times": "running_times"}  # the asset imports it when it runs
BOOKS = ("processed", "failed", "inserted", "updated", "unchanged", "merged", "warned")


def main() -> None:
    """Run one job and print what it did."""
    what, *days = sys.argv[1:]
    warnings.simplefilter("ignore", dg.BetaWarning)
    from cmms_pipelines.definitions import definitions  # noqa: PLC0415 - after the warnings are off

    importlib.import_module(f"cmms_pipelines.sync.{_CODE[what]}")
    job = definitions().resolve_job_def(f"sync_{what.replace('-', '_')}")
    with dg.DagsterInstance.get() as instance:
        tags = {RANGE_START: days[0], RANGE_END: days[1]} if days else _all_plants(instance) if what == "equipment" else {}
        loaded_at, used = time.monotonic(), time.process_time()
        result = job.execute_in_process(
            run_config={"loggers": {"console": {"config": {"log_level": "INFO"}}}}, instance=instance, tags=tags
        )
        ended_at, cpu_s = time.monotonic(), time.process_time() - used
    checks_s = sum(
        event.step_success_data.duration_ms / 1000
        for event in result.all_events
        if event.is_step_success and event.step_key != f"cmms__{_ASSETS[what]}"
    )
    print(json.dumps({
        "start_s": round(loaded_at - float(os.environ["BENCH_STARTED_AT"]), 3),
        "run_s": round(ended_at - loaded_at, 3),
        "checks_s": round(checks_s, 3),
        "cpu_s": round(cpu_s, 2),
        "work_s": round(ended_at - loaded_at - checks_s, 3),
        **_of_log(result.run_id),
    }))  # fmt: skip


def _all_plants(instance: dg.DagsterInstance) -> dict[str, str]:
    codes = sorted(instance.get_dynamic_partitions("plants"))
    return {RANGE_START: codes[0], RANGE_END: codes[-1]}


def _of_log(run_id: str) -> dict[str, Any]:
    from cmms_pipelines.settings import read_settings  # noqa: PLC0415
    from cmms_pipelines.storage.engine import cmms_address, shared_engine  # noqa: PLC0415
    from cmms_pipelines.storage.sync_log import read_of_run  # noqa: PLC0415

    row = read_of_run(shared_engine(cmms_address(read_settings())), run_id)[0]
    return {
        "sync_s": round((row["sync_completed_at"] - row["sync_started_at"]).total_seconds(), 3),
        "seconds_by_stage": row["stage_seconds"],
        "books": {name: row[f"records_{name}"] for name in BOOKS},
    }


if __name__ == "__main__":
    main()
