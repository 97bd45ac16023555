"""What the receiver takes, and how long a signed event waits until the run that applies it.

`receive` measures the receiver alone (`bench/receiving/receive.py`): no Dagster, load from another process. `apply` measures
the whole running system (`bench/receiving/apply.py`), started as `cmms up` starts it, on free ports and in a state folder of
its own. `retries` measures what becomes of events that fail for a passing reason (`bench/receiving/retries.py`). PostgreSQL is
the embedded one with fsync on; events are signed before the clock starts and sent by a process of its own
(`bench/receiving/load.py`).

    python bench/webhook.py [--json] [--quick] [--only PART[,PART...]]

Without `--only` all, one after the other, in some 35 minutes. A part is one of these three, or a piece of the first two:
`ceiling`, `rounds`, `idle`, `far`, `far_database`, `drain`; `cold`, `singles`, `sustained`, `burst`, `status`, `idle_cost`.
Progress and each figure are told on standard error as soon as they are known (medians after each round), and what is known is
also printed at the end when a part fails or somebody stops the run.

The receiver, medians of three rounds: `requests_per_s`, `p50_ms`, `p99_ms` at 100 connections that each wait for their answer;
`p50_ms_at_3000_per_s`, `p99_ms_at_3000_per_s`, `p50_ms_at_200_per_s`, `p99_ms_at_200_per_s` of events that are due at fixed
times, whether or not the ones before are answered; `load_ceiling_per_s`, what the same load reaches against a server that does
nothing; `receiver_cpu_us_per_request`; `load_cpu_share`, what the load itself took of a core. Beside them
`p99_ms_beside_1000_idle`, 200 a second beside a thousand connections that began a request and went silent; `far_sender_p50_ms`,
`_p99_ms` (200 a second) with 20 to 40 ms each way between sender and receiver; `far_database_requests_per_s`,
`far_database_p50_ms`, `_p99_ms` with 2 to 6 ms each way between receiver and database; `drain_per_s`, 100,000 events that wait
applied by one drain.

The whole: `cold_p50_s`, `cold_max_s` of single events that find no drain at work; `applied_p50_s`, `applied_p95_s` and
`applied_max_s` of single events at random times, the first from cold, medians of three series, and `applied_worst_s`, the
longest of all; `sustained_1000_per_min_p50_s`, `_p99_s`, `_max_s` of ten minutes; `burst_5000_s` from the first request to the
last event settled, a mixture of real events (orders from creation to closing, master data and counters of aircraft), median of
three; `status_seen_max_s`, the longest time from the commit of an effect until the status API shows it; `idle_core_share`, the
CPU seconds per second of all services and the database together when idle; `runs`, the drain runs that the UI shows.

Retries: `retry_success`, the share of events that failed for a passing reason and were applied in the end.
"""

import argparse
import json
import shutil
import signal
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from receiving import apply, receive, retries
from receiving.notes import Notes


def measure_retries(home: Path, *, is_quick: bool, notes: Notes) -> None:
    """Measure retries on a database that nothing else works on."""
    lab = receive.Lab(home, notes.say)
    try:
        notes.add(retries.measure(lab.databases.cmms, is_quick=is_quick, say=notes.say))
    finally:
        lab.close()


PARTS: dict[str, tuple[Callable[..., None], Collection[str]]] = {
    "receive": (receive.measure, receive.PIECES),
    "apply": (apply.measure, apply.PIECES),
    "retries": (measure_retries, ()),
}


def chosen(text: str | None) -> dict[str, set[str]]:
    """Return the pieces to measure by part, all of a part as none; a part that is left out is not measured."""
    if not text:
        return {part: set() for part in PARTS}
    wanted: dict[str, set[str]] = {}
    whole = {name for name in text.split(",") if name in PARTS}
    for name in text.split(","):
        parts = [part for part, (_, pieces) in PARTS.items() if name in {part, *pieces}]
        if not parts:
            raise SystemExit(
                f"--only {name}: take {', '.join(f'{part} or one of {pieces}' for part, (_, pieces) in PARTS.items())}"
            )
        wanted.setdefault(parts[0], set())
        if parts[0] not in whole:
            wanted[parts[0]].add(name)
    return wanted


@contextmanager
def state_folder() -> Iterator[Path]:
    """Give an empty state folder, and remove it."""
    home = Path(tempfile.mkdtemp(prefix="cmms-bench-"))
    home.chmod(0o755)  # as root the database runs as another user, who must get in
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _stop(*_: object) -> None:
    raise SystemExit("stopped")


def main() -> None:
    """Measure part after part, each in a state folder of its own; the figures so far are printed however it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quick", action="store_true", help="within a minute, for a look")
    parser.add_argument("--only", metavar="PART", help="parts or pieces, with commas between them")
    arguments = parser.parse_args()
    wanted = chosen(arguments.only)
    signal.signal(signal.SIGTERM, _stop)
    figures: dict[str, float | int] = {}
    try:
        for part, pieces in wanted.items():
            with state_folder() as home:
                PARTS[part][0](home, is_quick=arguments.quick, notes=Notes(pieces, figures))
    finally:
        if arguments.json:
            print(json.dumps(figures), flush=True)
        else:
            for name, value in figures.items():
                print(f"{name:32} {value}", flush=True)


if __name__ == "__main__":
    main()
