"""The demo's summary for people: tables on a terminal."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from cmms_pipelines.operate.summary import ConflictFigures, EventFigures, Summary, SyncFigures


def print_summary(summary: Summary, out: Console) -> None:
    """Print all figures, then whether they are right or what is wrong."""
    out.print()
    out.print(_syncs(summary.syncs))
    out.print(_events(summary.events))
    out.print(_conflicts(summary.conflicts))
    out.print(_pairs("Rows", {**summary.tables, **{f"analytics.{name}": rows for name, rows in summary.marts.items()}}))
    out.print(_pairs("Maintenance", summary.maintenance))
    out.print(_pairs("Seconds", summary.seconds))
    out.print(_pairs("Where", summary.addresses))
    if summary.is_right:
        out.print("[bold green]Every figure is right:[/] received = stored + refused, and sent = applied + ignored + held.")
    for problem in summary.problems:
        out.print("[bold red]Wrong:[/]", problem)


def _syncs(syncs: tuple[SyncFigures, ...]) -> Table:
    columns = ("in source", "received", "stored", "refused", "inserted", "updated", "unchanged", "merged", "warned")
    table = Table(title="Syncs", title_justify="left")
    table.add_column("sync")
    for column in columns:
        table.add_column(column, justify="right")
    table.add_column("refused by rule")
    for sync in syncs:
        values = (str(getattr(sync, column.replace(" ", "_"))) for column in columns)
        table.add_row(sync.sync_type, *values, ", ".join(f"{rule} {count}" for rule, count in sync.refused_by_rule.items()))
    return table


def _events(events: EventFigures) -> Table:
    shown: dict[str, object] = {
        name: getattr(events, name) for name in ("sent", "accepted", "duplicate", "refused", "applied", "ignored", "held")
    }
    if events.latency_p50_s is not None:
        shown["accepted to applied"] = f"p50 {events.latency_p50_s} s, p95 {events.latency_p95_s} s, max {events.latency_max_s} s"
    return _pairs("Events", shown)


def _conflicts(conflicts: ConflictFigures) -> Table:
    shown: dict[str, object] = {
        "orders edited here and contradicted": conflicts.contested,
        "decided by a rule": conflicts.decided_by_rule,
        "decided by hand": conflicts.decided_by_hand,
        "waiting": f"{conflicts.waiting} ({conflicts.open_in_queue} in the queue): .venv/bin/cmms conflicts list",
    }
    return _pairs("Conflicts", shown)


def _pairs(title: str, values: Mapping[str, object]) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="left")
    for name, value in values.items():
        table.add_row(str(name), str(value))
    return table
