"""How fast a sync is: ours, dlt and PostgreSQL itself, on the same rows, the same server and in one run.

    python bench/sync.py [--json] [--quick] [--only ours,floor,dlt-default,dlt-best,dlt-keyed,...] [--rows N] [--repeat N]

| contender | does |
|---|---|
| ours | HTTP JSON to validated and merged rows with foreign keys, through the Dagster assets, one process a sync |
| dlt-default | dlt's `rest_api` source by page numbers, merge on the key, everything else as it comes |
| dlt-best | dlt with an own fetch that yields Arrow tables, several workers and its fastest loader |
| dlt-keyed | the same into tables with primary keys and a foreign key, as ours have |
| floor | `psql`: COPY of a ready CSV and one merge statement into the same tables as ours |

dlt does not validate, and the tables that it makes itself have neither keys nor foreign keys. Each contender starts from fresh
tables and does three phases: `cold`, `unchanged` (the same again) and `changed_10` (a tenth of the rows differs); a CHECKPOINT
comes before each. What is timed is the work inside a process that has its code loaded: for ours the Dagster run. Apart from that:
`start_s`, what a new process takes until then, and `checks_s`, the run's asset checks, which look over the tables once more.
`cpu_s` and `database_cpu_s` are processor seconds of the sync itself (of psql, for the floor) and of all processes of PostgreSQL;
those of ours have the checks in them. They say what a phase costs, however busy the machine is otherwise. `spread` is (slowest -
fastest) / median of the repetitions. Two more parts: `night` is one day of all machines on top of what is stored; `growth` the
time and peak memory of ours at a tenth of the rows, all, three times as many.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from syncing import children, floor, peer_environment
from syncing.children import Finished
from syncing.figures import CONTENDERS, PHASES, Figures, Plan, report
from syncing.lab import Lab, opened
from syncing.records import FIRST_DAY, World
from syncing.source import TOKEN

PARTS = (*CONTENDERS, "night", "growth")


def ours(lab: Lab, database_url: str, variant: int, *what: str) -> Finished:
    """Run one sync of ours in a process of its own."""
    lab.checkpoint()
    command = [sys.executable, "-m", "syncing.ours", *what]
    return children.run(command, extra=lab.environment(database_url, variant), log=lab.home / "ours.log")


def span(days: range) -> tuple[str, str]:
    """Return the first and last day of some day numbers."""
    first, last = FIRST_DAY + timedelta(days=days.start), FIRST_DAY + timedelta(days=days.stop - 1)
    return first.isoformat(), last.isoformat()


def run_ours(lab: Lab, plan: Plan, figures: Figures) -> None:
    """Run all phases of ours once."""
    url = lab.fresh_database("bench_ours")
    for phase, variant in PHASES.items():
        if plan.has_masters(phase):
            masters = ours(lab, url, variant, "equipment")
            figures.add("ours", f"equipment_{phase}", masters.said["work_s"], masters.said, masters.peak_mb)
            lab.say(f"  ours {phase}, masters: {masters.said['work_s']:.2f} s, {masters.peak_mb:.0f} MB")
        lab.checkpoint()
        before = lab.database_cpu_s()
        finished = ours(lab, url, variant, "running-times", *span(range(plan.days)))
        said = {**finished.said, "database_cpu_s": round(lab.database_cpu_s() - before, 2)}
        figures.add("ours", phase, finished.said["work_s"], said, finished.peak_mb)
        figures.content.setdefault("ours", {})[phase] = lab.content(url)
        lab.say(f"  ours {phase}: {finished.said['work_s']:.2f} s, {finished.peak_mb:.0f} MB")


def run_floor(lab: Lab, plan: Plan, figures: Figures) -> None:
    """Run all phases of the floor once."""
    url = lab.fresh_database("bench_floor")
    days = range(plan.days)
    for phase, variant in PHASES.items():
        for prefix, script in (
            ("equipment_", floor.equipment_script(lab.csv("equipment", range(0), variant))),
            ("", floor.readings_script(lab.csv("readings", days, variant))),
        ):
            if prefix and not plan.has_masters(phase):
                continue
            lab.checkpoint()
            used, before = children.of_ended_children_s(), lab.database_cpu_s()
            started = time.monotonic()
            stages = floor.run(script, url)
            seconds = time.monotonic() - started
            cpu = {
                "cpu_s": round(children.of_ended_children_s() - used, 2),
                "database_cpu_s": round(lab.database_cpu_s() - before, 2),
            }
            figures.add("floor", prefix + phase, seconds, {"seconds_by_stage": stages, **cpu})
        figures.content.setdefault("floor", {})[phase] = lab.content(url)
        lab.say(f"  floor {phase}: {figures.seconds['floor'][phase][-1]:.2f} s")


def run_dlt(configuration: str) -> Callable[[Lab, Plan, Figures], None]:
    """Return what runs all phases of dlt once, in one of its configurations."""

    def run(lab: Lab, plan: Plan, figures: Figures) -> None:
        python = peer_environment.python(lab.say)
        url = lab.empty_database("bench_dlt")
        contender, folder = f"dlt-{configuration}", lab.home / "dlt"
        shutil.rmtree(folder, ignore_errors=True)
        for phase, variant in plan.phases_of(contender).items():
            for prefix, what in (("", "readings"),) if plan.is_quick else (("equipment_", "equipment"), ("", "readings")):
                lab.checkpoint()
                script = Path(peer_environment.__file__).with_name("peer.py")
                command: list[str | Path] = [python, script, configuration, what, f"{lab.source_url}/v{variant}"]
                command += [*span(range(plan.days)), folder]
                extra = {"PEER_DATABASE_URL": url, "PEER_TOKEN": TOKEN}
                finished = children.run(command, extra=extra, log=lab.home / "dlt.log")
                expected = plan.machines if prefix else plan.rows
                if finished.said["rows"] != expected:
                    raise SystemExit(f"{contender} stored {finished.said['rows']} rows of {expected}")
                figures.add(
                    contender, prefix + phase, finished.said["work_s"], finished.said, None if prefix else finished.peak_mb
                )
            lab.say(f"  {contender} {phase}: {finished.said['work_s']:.2f} s, {finished.peak_mb:.0f} MB")
        lab.drop_database("bench_dlt")

    return run


def run_night(lab: Lab, plan: Plan) -> dict[str, Any]:
    """Run one day of all machines on top of what ours has stored."""
    night = range(plan.days, plan.days + 1)
    lab.prepare(night.stop, 0)
    finished = ours(lab, lab.server.url("bench_ours"), 0, "running-times", *span(night))
    lab.say(f"  a night of {plan.machines} machines: {finished.said['work_s']:.2f} s")
    return {"machines": plan.machines, "peak_mb": finished.peak_mb, **finished.said}


def run_growth(lab: Lab, plan: Plan) -> list[dict[str, Any]]:
    """Run ours cold on more and more days, each on fresh tables."""
    points = []
    for days in plan.growth_days:
        lab.prepare(days, 0)
        url = lab.fresh_database("bench_growth")
        ours(lab, url, 0, "equipment")
        finished = ours(lab, url, 0, "running-times", *span(range(days)))
        rows = days * plan.machines
        work_s = finished.said["work_s"]
        points.append({"rows": rows, "s": work_s, "rows_per_s": round(rows / work_s), "peak_mb": finished.peak_mb})
        lab.say(f"  growth: {points[-1]}")
        lab.drop_database("bench_growth")
    return points


RUNNERS: dict[str, Callable[[Lab, Plan, Figures], None]] = {
    "ours": run_ours,
    "floor": run_floor,
    "dlt-default": run_dlt("default"),
    "dlt-best": run_dlt("best"),
    "dlt-keyed": run_dlt("keyed"),
}


def measure(lab: Lab, plan: Plan) -> dict[str, Any]:
    """Run everything of a plan and return the figures."""
    for variant in set(PHASES.values()):
        lab.prepare(plan.days, variant)
    figures = Figures()
    chosen = [name for name in CONTENDERS if name in plan.parts]
    if "night" in plan.parts and "ours" not in chosen:
        chosen.append("ours")
    for repetition in range(plan.repeat):
        for contender in chosen:
            lab.say(f"{contender}, repetition {repetition + 1} of {plan.repeat}")
            RUNNERS[contender](lab, plan, figures)
    night = run_night(lab, plan) if "night" in plan.parts else None
    growth = run_growth(lab, plan) if "growth" in plan.parts else []
    return report(plan, figures, night, growth)


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return what the options ask for."""
    is_quick = arguments.quick
    default = CONTENDERS if is_quick else PARTS
    parts = tuple(arguments.only.split(",")) if arguments.only else default
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise SystemExit(f"--only knows {', '.join(PARTS)}, not {', '.join(sorted(unknown))}")
    days = arguments.days or (4 if is_quick else 10)
    machines = arguments.rows // days if arguments.rows else (20_000 if is_quick else 100_000)
    return Plan(
        parts=parts,
        machines=machines,
        plants=min(20 if is_quick else 100, machines),
        days=days,
        repeat=arguments.repeat or (1 if is_quick or arguments.only else 3),
        growth_days=(max(days // 10, 1), days, days * 3),
        latency_ms=arguments.latency_ms,
        is_quick=is_quick,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    parser.add_argument("--quick", action="store_true", help="within a minute, for a look")
    parser.add_argument("--only", help=f"comma-separated, of {', '.join(PARTS)}; runs once unless --repeat says more")
    parser.add_argument("--rows", type=int, help="readings in all (1,000,000), spread over the days")
    parser.add_argument("--days", type=int, help="days of readings (10), at most 10 with growth")
    parser.add_argument("--repeat", type=int, help="repetitions (3)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="the source waits that long before each reply")
    arguments = parser.parse_args()
    plan = plan_of(arguments)
    last_day = max([plan.days, *(plan.growth_days if "growth" in plan.parts else ())])
    with opened(World(plan.machines, plan.plants), last_day=last_day, latency_ms=plan.latency_ms) as lab:
        figures = measure(lab, plan)
    if arguments.json:
        print(json.dumps(figures))
    else:
        print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
