"""The processes of one CMMS_HOME: finding all of them, whoever started them, and ending them.

What belongs here: the mark that each process inherits through its environment, and the end of what carries it. Process groups
and parents do not serve for this: Dagster's runs are grandchildren, and an orphan has lost its parent.
What does not: what is started and in which order (`operate.services`, `operate.supervise`).
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

HOME_MARK = "CMMS_SERVICES_OF"
START_MARK = "CMMS_SERVICES_START"


@dataclass(frozen=True)
class Mark:
    """What the processes of a home have in common; with a `start`, those of one start of its services alone."""

    home: Path
    start: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the variables that mark a process and all that it starts."""
        return {HOME_MARK: str(self.home)} | ({START_MARK: self.start} if self.start else {})

    def is_on(self, process: psutil.Process) -> bool:
        """Tell whether `process` lives and carries this mark; processes of other users cannot be looked into and do not count."""
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            environment = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            return False
        return all(environment.get(name) == value for name, value in self.environment().items())


def marked(mark: Mark) -> list[psutil.Process]:
    """Return the living processes that carry `mark`, without this process and its ancestors."""
    me = psutil.Process()
    spared = {me.pid, *(parent.pid for parent in me.parents())}
    return [process for process in psutil.process_iter() if process.pid not in spared and mark.is_on(process)]


def end_all(mark: Mark, grace_s: float, is_urgent: Callable[[], bool] = lambda: False) -> int:
    """Ask all processes with `mark` to end, kill those left after `grace_s` or once `is_urgent`; return their number."""
    found = left = marked(mark)
    for process in found:
        _signal(process.terminate)
    waited_s = 0.0
    while left and waited_s < grace_s and not is_urgent():
        _, left = psutil.wait_procs(left, timeout=_STEP_S)
        waited_s += _STEP_S
    while left := marked(mark):  # also what the ended ones started meanwhile
        for process in left:
            _signal(process.kill)
        psutil.wait_procs(left, timeout=1)
    return len(found)


def _signal(action: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()


_STEP_S = 0.1
