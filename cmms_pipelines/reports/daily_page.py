"""The daily report as one HTML file: charts inside, no request to anywhere, every value escaped.

What belongs here: from facts to the page. What does not: the facts (`reports.daily`), where pages are kept (`reports.kept`) and
sending them (`reports.mailing`).
"""

import base64
import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import sqlalchemy as sa

from cmms_pipelines.domain.kpi_limits import KpiLimits
from cmms_pipelines.reports.cells import as_plain
from cmms_pipelines.reports.daily import Daily, read_daily
from cmms_pipelines.reports.pictures import PICTURES
from cmms_pipelines.storage.marts import SCHEMA, mart_names

LONGEST_CELL = 240
_TEMPLATES = Path(__file__).parent / "templates"
_DRAWN = (
    "sync_performance", "error_analysis", "data_freshness", "running_time_trends", "plant_utilisation", "api_response_times",
    "event_analytics", "maintenance_due", "daily_kpis",
)  # fmt: skip

_TITLES = {
    "equipment_number": "machine",
    "plant_code": "plant",
    "rule_name": "rule",
    "expected_due_on": "expected on",
    "baseline_on": "counted from",
    "unknown_because": "what is missing",
}


def make_page(
    engine: sa.Engine, day: dt.date, now: dt.datetime, *, time_zone: str, dagster_url: str, limits: KpiLimits | None = None
) -> tuple[Daily, str]:
    """Return the facts of a morning, and its page; `limits` of the key figures are the usual ones unless they are given."""
    daily = read_daily(engine, day, now, time_zone, limits)
    with engine.connect() as connection:
        built = set(mart_names(connection))
        names = [f"{SCHEMA}.{name}" for name in _DRAWN if name in built]
        pictures = {
            name: {"says": PICTURES[name].says, "data": base64.b64encode(PICTURES[name].drawn(connection, limits)).decode()}
            for name in names
        }
    return daily, page_of(daily, pictures, time_zone=time_zone, dagster_url=dagster_url)


def page_of(daily: Daily, pictures: Mapping[str, Mapping[str, str]], *, time_zone: str, dagster_url: str) -> str:
    """Return the page of facts and pictures (by relation: `says` and base64 `data`)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    zone = ZoneInfo(time_zone)
    environment.filters["cell"] = lambda value: _cell(value, zone)
    environment.filters["clock"] = lambda at: f"{at.astimezone(zone):%d %b %H:%M}"
    environment.filters["took"] = _took
    environment.filters["shortened"] = _shortened
    return environment.get_template("daily.html.j2").render(
        daily=daily,
        pictures=pictures,
        tiles=_tiles(daily),
        figures=_figures(daily),
        due_columns=[(name, _TITLES.get(name, name.replace("_", " "))) for name in daily.due_columns],
        due_counts=_due_counts(daily),
        kpis=[_kpi(row) for row in daily.kpis],
        dagster=dagster_url,
        time_zone=time_zone,
    )


def _tiles(daily: Daily) -> list[tuple[str, str, bool]]:
    covered = daily.plants - len(daily.plants_missing) - len(daily.plants_quiet)
    dead = int(daily.events["counts"]["dead_letter"])
    standing = sum(count for severity, count in daily.alert_counts.items() if severity != "info")
    overdue = daily.due_counts.get("overdue", 0)
    records = sum(int(sync["records_processed"]) for sync in daily.syncs)
    return [
        ("plants with readings", f"{covered} / {daily.plants}", bool(daily.plants_missing)),
        ("records received", f"{records:,}", False),
        ("records refused", f"{daily.refused_records:,}", daily.refused_records > 0),
        *([("maintenance overdue", f"{overdue:,}", overdue > 0)] if daily.due_counts else []),
        ("alerts that stand", f"{standing:,}", standing > 0),
        ("dead letters", f"{dead:,}", dead > 0),
        ("open conflicts", f"{daily.conflicts['open']:,}", daily.conflicts["open"] > 0),
    ]


def _figures(daily: Daily) -> list[dict[str, Any]]:
    found = daily.figures
    ended, records = int(found["ended"] or 0), int(found["records"] or 0)
    shown = {
        "syncs without failure or refusal": f"{found['good']} of {ended} ({found['good'] / ended:.1%})" if ended else None,
        "records refused": f"{int(found['refused'])} of {records:,} ({int(found['refused']) / records:.2%})" if records else None,
        "records per second": f"{float(found['records_per_s']):,.0f}" if found["records_per_s"] else None,
        "answer of the external API, p95": f"{found['api_p95_ms']:,.0f} ms" if found["api_p95_ms"] is not None else None,
        "events received": f"{int(found['events']):,}",
        "events until applied, p95": f"{float(found['events_p95_s']):.2f} s" if found["events_p95_s"] is not None else None,
    }
    return [{"name": name, "value": "none in this time" if value is None else value} for name, value in shown.items()]


def _due_counts(daily: Daily) -> str:
    said = {"overdue": "overdue", "due": "due", "due_soon": "due soon", "unknown": "cannot be told", "ok": "all right"}
    return ", ".join(f"{daily.due_counts.get(name, 0):,} {words}" for name, words in said.items())


def _kpi(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a key figure as the table has it; a word says what is beyond its limit."""
    name, value = str(row["name"]), row["value"]
    verdict = {True: "yes", False: "NO", None: "not known"}[row["is_kept"]]
    return {
        "name": name.replace("_", " "),
        "value": str(row["why"] or "not known") if value is None else _figure(name, float(value)),
        "limit": f"{'at least' if row['is_least'] else 'at most'} {_figure(name, float(row['limit']))}",
        "kept": verdict,
    }


def _figure(name: str, value: float) -> str:
    if name.endswith("_ms"):
        return f"{value:,.0f} ms"
    return f"{value:,.0f} days" if name.endswith("_days_late") else f"{value * 100:,.4g} %"


def _cell(value: object, zone: ZoneInfo) -> str:
    if value is None:
        return "–"  # noqa: RUF001 - a dash for nothing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dt.datetime):
        return f"{value.astimezone(zone):%Y-%m-%d %H:%M}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float | Decimal):
        return f"{value:,.1f}" if isinstance(value, Decimal) else f"{value:,.4g}"
    return _shortened(as_plain(value))


def _took(duration: dt.timedelta) -> str:
    seconds = duration.total_seconds()
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _shortened(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}…"
