"""The daily report's facts: is last night complete, what was refused, who needs attention, what to do.

What belongs here: asking the tables, and what the answers mean. What does not: how the page looks (`reports.daily_page`).
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.reports.daily_marts import DUE_COLUMNS, first_of, key_figures, maintenance
from cmms_pipelines.storage import nights
from cmms_pipelines.storage.alerts import count_by_severity, find_many
from cmms_pipelines.storage.conflict_search import queue_status
from cmms_pipelines.storage.inbox_search import EventFilter, dead_letter_causes
from cmms_pipelines.storage.inbox_status import inbox_status
from cmms_pipelines.storage.marts import mart_names
from cmms_pipelines.storage.sync_controls import read_controls

NIGHT_BEGINS = dt.time(20)
SHOWN = 12
Row = dict[str, Any]
_DONE = ("success", "partial")
_GAPS = ("is_active desc", "is_open desc", "days_missing desc")
_FRESHNESS = ("is_active desc", "freshness = 'no machines'", "days_late desc nulls first", "plant_code")


@dataclass(frozen=True)
class Action:
    """Something to do: why, and a command that does it or shows more."""

    why: str
    command: str
    page: str = ""
    """Path of a page of the Dagster UI, without a slash in front."""


@dataclass(frozen=True)
class Daily:
    """One morning."""

    day: dt.date
    """The morning's date; the night is the one before it, its business day yesterday."""
    made_at: dt.datetime
    since: dt.datetime
    until: dt.datetime
    paused: str | None
    syncs: Sequence[Row]
    not_run: Sequence[str]
    plants_missing: Sequence[Row]
    plants_quiet: Sequence[Row]
    """Plants of which the source had nothing to say, as on the same weekday before."""
    plants: int
    refused: Sequence[Row]
    due: Sequence[Row]
    due_columns: Sequence[str]
    due_counts: dict[str, int]
    """Machines and their rules by status, those included that are all right; empty while the mart is not built."""
    gaps: Sequence[Row]
    stuck: Sequence[Row]
    events: Row
    dead_letters: Sequence[Row]
    conflicts: Row
    alert_counts: dict[str, int]
    alerts: Sequence[Row]
    freshness: Sequence[Row]
    figures: Row
    kpi_date: dt.date | None
    kpis: Sequence[Row]
    has_marts: bool

    @property
    def yesterday(self) -> dt.date:
        """The business day that the night should have brought."""
        return self.day - dt.timedelta(days=1)

    @property
    def problems(self) -> list[str]:
        """Why last night is not complete, each as a sentence; empty when it is."""
        found = [f"The sync of {_words(name)} did not run." for name in self.not_run]
        found += [
            f"The sync of {_words(sync['sync_type'])} {_ENDS.get(sync['status'], 'ended as ' + sync['status'])}."
            for sync in self.syncs
            if sync["status"] != "success" and not (sync["status"] == "partial" and not sync["error_message"])
        ]
        if self.plants_missing:
            codes = [str(row["plant_code"]) for row in self.plants_missing]
            named = ", ".join(codes[:5]) + (f" and {len(codes) - 5} more" if len(codes) > 5 else "")
            found.append(f"{len(codes)} of {self.plants} plants have no readings of {self.yesterday:%d %b}: {named}.")
        return found

    @property
    def is_complete(self) -> bool:
        """Whether every sync of the night ended and every plant has its readings; refused records do not count against it."""
        return not self.problems

    @property
    def refused_records(self) -> int:
        """Records that the night refused and that are still open."""
        return sum(int(row["records"]) for row in self.refused)

    @property
    def actions(self) -> list[Action]:
        """What to do, the most urgent first."""
        return _actions(self)


_ENDS = {"failed": "failed", "cancelled": "was cancelled", "running": "still runs", "partial": "is complete only in part"}


def read_daily(engine: sa.Engine, day: dt.date, now: dt.datetime, time_zone: str, limits: KpiLimits | None = None) -> Daily:
    """Return the facts of the morning of `day`.

    Args:
        engine: the `cmms` database; marts that are not built yet leave their part of the report out.
        day: the morning, by the clock of `time_zone`; the night began at 20:00 on the evening before.
        now: queue, alerts and conflicts are as they stand now, whatever the day.
        time_zone: an IANA name.
        limits: what the key figures are held against; by default the usual ones.
    """
    zone = ZoneInfo(time_zone)
    until = min(dt.datetime.combine(day, NIGHT_BEGINS, zone), now)
    since = dt.datetime.combine(day - dt.timedelta(days=1), NIGHT_BEGINS, zone)
    yesterday = day - dt.timedelta(days=1)
    with engine.connect() as connection:
        syncs = nights.syncs_between(connection, since, until)
        usual = nights.usual_syncs(connection, since - dt.timedelta(days=7), since)
        missing, plants = nights.plants_without(connection, yesterday)
        marts = set(mart_names(connection))
        due, due_counts = maintenance(connection, marts, SHOWN)
        kpi_date, kpis = key_figures(connection, marts, yesterday, limits or KpiLimits())
        return Daily(
            day=day,
            made_at=now.astimezone(zone),
            since=since,
            until=until,
            paused=str(pause) if (pause := read_controls(connection).pause) else None,
            syncs=syncs,
            not_run=sorted(usual - {sync["sync_type"] for sync in syncs}),
            plants_missing=[row for row in missing if row["is_lacking"]],
            plants_quiet=[row for row in missing if not row["is_lacking"]],
            plants=plants,
            refused=nights.refused_between(connection, since, until),
            due=due,
            due_columns=DUE_COLUMNS,
            due_counts=due_counts,
            gaps=first_of(connection, marts, "gap_analysis", _GAPS, SHOWN),
            stuck=nights.stuck_counters(connection, yesterday, SHOWN),
            events=inbox_status(connection),
            dead_letters=dead_letter_causes(connection, EventFilter())[:SHOWN],
            conflicts=queue_status(connection),
            alert_counts=count_by_severity(connection),
            alerts=find_many(connection, limit=SHOWN),
            freshness=first_of(connection, marts, "data_freshness", _FRESHNESS, SHOWN),
            figures=nights.figures_between(connection, since, until),
            kpi_date=kpi_date,
            kpis=kpis,
            has_marts=bool(marts),
        )


def _actions(daily: Daily) -> list[Action]:
    found = []
    yesterday = daily.yesterday.isoformat()
    if daily.paused:
        found.append(Action(f"Syncs are paused {daily.paused}.", "cmms sync resume", "jobs"))
    commands = {
        "equipment": "cmms sync equipment",
        "running_times": f"cmms sync running-times --date {yesterday}",
        "work_orders": "cmms sync work-orders",
    }
    found += [
        Action(f"Sync {_words(name)}: it did not run.", commands.get(name, f"the job sync_{name}"), "automation")
        for name in daily.not_run
    ]
    for sync in daily.syncs:
        if sync["status"] not in _DONE:
            name, run = str(sync["sync_type"]), sync["dagster_run_id"]
            why = f"Re-execute the sync of {_words(name)}, which does only what is missing."
            found.append(Action(why, commands.get(name, f"the job sync_{name}"), f"runs/{run}" if run else ""))
    if daily.plants_missing and "running_times" not in daily.not_run:
        chosen = " ".join(f"--plant {row['plant_code']}" for row in daily.plants_missing[:10])
        command = f"cmms sync running-times --date {yesterday} {chosen}"
        found.append(Action(f"Bring yesterday's readings of {len(daily.plants_missing)} plants.", command))
    if daily.refused:
        rule = daily.refused[0]["rule"]
        why = f"See why {daily.refused_records} records were refused; mend the cause, then replay them."
        found.append(Action(why, f"cmms rejections list --rule {rule}", "assets/cmms/sync_rejections"))
    if daily.dead_letters:
        why = f"Put {daily.events['counts']['dead_letter']} dead letters back, once their cause is mended."
        found.append(Action(why, "cmms events replay --status dead_letter", "assets/cmms/dead_letters"))
    if daily.conflicts["open"]:
        why = f"Decide {daily.conflicts['open']} conflicts."
        found.append(Action(why, "cmms conflicts list", "assets/cmms/sync_conflicts"))
    grave = sum(daily.alert_counts.get(name, 0) for name in ("critical", "high"))
    if grave:
        found.append(Action(f"Take {grave} grave alerts.", "cmms alerts list", "assets/cmms/alerts"))
    waiting = {name: daily.due_counts.get(name, 0) for name in ("overdue", "due")}
    if any(waiting.values()):
        why = f"Plan the maintenance that is {' or '.join(f'{name} ({count})' for name, count in waiting.items() if count)}."
        found.append(Action(why, "cmms export needs_maintenance --format xlsx", "assets/analytics/needs_maintenance"))
    if not daily.has_marts:
        found.append(Action("Build the marts: parts of this report come from them.", "the job build_marts", "jobs"))
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")
