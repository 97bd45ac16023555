"""Runs of the command line: what they are known by, and whether their process was killed.

What belongs here: the tags of such a run and what they tell, without Dagster, for all who close runs. What does not: closing
them (`defs.orphans`, `operate.runs`). Each process of Dagster loads this module: what only looks at processes is loaded then.
"""

import socket
from collections.abc import Mapping
from pathlib import Path

STARTED_BY = "cmms/started_by"
COMMAND_LINE = "command line"
_HOST = "cmms/host"
_PROCESS = "cmms/process"
_LAUNCHED_FROM = "dagster/code_location"


def process_tags() -> Mapping[str, str]:
    """Return the tags of a run of the command line: where it runs, and in which process, this one."""
    import psutil  # noqa: PLC0415

    me = psutil.Process()
    return {STARTED_BY: COMMAND_LINE, _HOST: _host(), _PROCESS: f"{me.pid} {me.create_time():.2f}"}


def is_of_command_line(tags: Mapping[str, str]) -> bool:
    """Tell whether a run with these tags is one of the command line.

    One that is executed again from the UI has its tags too, but the services launched it, and Dagster notes from where.
    """
    return tags.get(STARTED_BY) == COMMAND_LINE and _LAUNCHED_FROM not in tags


def is_killed(tags: Mapping[str, str]) -> bool:
    """Tell whether a run in flight with these tags is one of this host's command line whose process is gone.

    Runs of other hosts are taken to live: nobody can tell from here.
    """
    return is_of_command_line(tags) and tags.get(_HOST) == _host() and not _is_alive(tags.get(_PROCESS, ""))


def _host() -> str:
    """Return what tells this machine's processes from those of others, also of containers that share its name."""
    try:
        numbers_processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()} {numbers_processes}"


def _is_alive(process: str) -> bool:
    """Tell whether the process lives: its number, and the moment of its start, since numbers are used again."""
    import psutil  # noqa: PLC0415

    try:
        number, started_at = process.split()
        found = psutil.Process(int(number))
        return found.status() != psutil.STATUS_ZOMBIE and abs(found.create_time() - float(started_at)) < 1.0
    except (ValueError, psutil.NoSuchProcess):
        return False
