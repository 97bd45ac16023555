"""The watchdog: a small process that ends all services of one CMMS_HOME when their supervisor is gone, however it went.

It waits for the end of its standard input, which the operating system closes for a supervisor that was killed. What belongs
here: that wait. What does not: an orderly stop (`operate.supervise`), after which there is nothing left to do here.
"""

import signal
import sys
from pathlib import Path

GRACE_S = 5.0


def main(arguments: list[str]) -> None:
    """Wait for the supervisor's end, then end what it left. The arguments are CMMS_HOME and the id of the start."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    from cmms_pipelines.operate import processes  # noqa: PLC0415 - a process that mostly waits stays small

    processes.end_all(processes.Mark(Path(arguments[0]), arguments[1]), GRACE_S)


if __name__ == "__main__":
    main(sys.argv[1:])
