"""Runs of the command line that say they run, although their process is gone.

What belongs here: what such a run is known by, and closing it. What does not: runs of the services, which `operate.runs`
closes, and the log of the sync, which the next sync closes (`storage.sync_claims`).
"""

import socket
from collections.abc import Mapping
from pathlib import Path

import dagster as dg
import psutil

from cmms_pipelines.defs.running import COMMAND_LINE, IN_FLIGHT, STARTED_BY

_HOST = "cmms/host"
_PROCESS = "cmms/process"


def process_tags() -> Mapping[str, str]:
    """Return the tags of a run of the command line: where it runs, and in which process."""
    me = psutil.Process()
    return {STARTED_BY: COMMAND_LINE, _HOST: _host(), _PROCESS: f"{me.pid} {me.create_time():.2f}"}


def close_orphans(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Mark the runs of this host's command line as canceled whose process was killed; return them.

    They would count as running, and hold their place in their pool, until their time limit. Runs of other hosts are left alone:
    nobody can tell from here.
    """
    filters = dg.RunsFilter(statuses=IN_FLIGHT, tags={STARTED_BY: COMMAND_LINE, _HOST: _host()})
    orphans = [run for run in instance.get_runs(filters) if not _is_alive(run.tags.get(_PROCESS, ""))]
    for run in orphans:
        instance.report_run_canceled(
            run, "The process of `cmms` was killed; the next command closed its run. Finished slices are kept."
        )
    return orphans


def _host() -> str:
    """Return what tells this machine's processes from those of others, also of containers that share its name."""
    try:
        numbers_processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {numbers_processes}"


def _is_alive(process: str) -> bool:
    """Tell whether the process lives: its number, and the moment of its start, since numbers are used again."""
    try:
        number, started_at = process.split()
        found = psutil.Process(int(number))
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - float(started_at)) < 1.0
    except (ValueError, psutil.NoSuchProcess):
        return False
