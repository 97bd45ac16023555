"""Running hours of machines: from a canonical frame and its context to rows that can be written.

What belongs here: the policy on days, gaps and several readings a day. What does not: counter events across days
(`domain.counters`), the rules themselves (`domain.contracts`).
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from cmms_pipelines.domain.contracts import JITTER_HOURS, failures_of
from cmms_pipelines.domain.rejections import refused_rows, warnings_by_row

DUPLICATE_KEY = ["equipment_number", "date", "plant_code", "point", "date_time", "running_hours", "cumulative_hours"]
_MACHINE_DAY = ["equipment_id", "date"]
_FOLDED = [
    "equipment_id", "equipment_number", "plant_id", "plant_code", "date", "date_time", "point", "description", "running_hours",
    "cumulative_hours", "days_covered", "company_code", "equipment_description", "object_number", "api_created_at", "warnings",
]  # fmt: skip
# the plant and what follows decide between readings of one instant, so that the order of arrival never does
_TIME_ORDER = ["date_time", "cumulative_hours", "plant_code", "running_hours", "point", "company_code", "description"]


@dataclass(frozen=True)
class JudgedReadings:
    """Records after judgement.

    Attributes:
        rows: one row per machine and day, ready to be written (see `fold`).
        failures: one row per record and failed rule (see `contracts.failures_of`).
        records_warned: accepted records with at least one warning.
        records_merged: accepted records that are part of another one's row (quirks 13, 24).
    """

    rows: pd.DataFrame
    failures: pd.DataFrame
    records_warned: int
    records_merged: int


def day_hours(day: date, time_zone: str, days_covered: int = 1) -> float:
    """Return the hours of the `days_covered` local days up to `day`: 23 or 25 for one where the clock changes (quirk 12)."""
    zone = ZoneInfo(time_zone)
    start = datetime.combine(day - timedelta(days=days_covered - 1), time(), zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)
    return (end - start).total_seconds() / 3600


def with_context(
    frame: pd.DataFrame,
    plants: pd.DataFrame,
    neighbours: pd.DataFrame,
    requested_days: Sequence[date],
) -> pd.DataFrame:
    """Add to a canonical frame what the contract needs to know of the rest of the world.

    Args:
        frame: see `records.running_times_frame`.
        plants: plant_code, plant_id, time_zone.
        neighbours: equipment_number, date, equipment_id, previous_date, previous_cumulative_hours (the reading before that
            day), other_plants_hours and other_plants_days_covered (of that day, stored from plants that are not in this frame).
        requested_days: the days that the source was asked for.

    Returns:
        The frame with plant_id, equipment_id (Int64), previous_date, previous_cumulative_hours, days_covered, day_hours (of
        those days), machine_day_hours and machine_day_limit (of all readings together), is_date_requested, is_first_of_day
        and is_running_hours_given.
    """
    known = plants.drop_duplicates("plant_code").set_index("plant_code")
    context = frame.merge(neighbours, on=["equipment_number", "date"], how="left", validate="many_to_one")
    context["plant_id"] = context["plant_code"].map(known["plant_id"]).astype("Int64")
    context["equipment_id"] = context["equipment_id"].astype("Int64")
    context["previous_cumulative_hours"] = context["previous_cumulative_hours"].astype("float64")
    context["previous_date"] = pd.to_datetime(context["previous_date"]).astype("datetime64[s]")
    context["is_date_requested"] = context["date"].isin([pd.Timestamp(day) for day in requested_days])
    zones = {str(code): str(zone) for code, zone in known["time_zone"].items()}
    one_day_hours = _lengths(context, zones)
    _complete_hours(context)
    context["days_covered"] = _days_covered(context, one_day_hours)
    context["day_hours"] = _longer(one_day_hours, context, zones, context["days_covered"])
    context["machine_day_hours"] = _machine_day_hours(context)
    context["machine_day_limit"] = _longer(one_day_hours, context, zones, _machine_days_covered(context))
    return context


def judge(context: pd.DataFrame) -> JudgedReadings:
    """Check a frame from `with_context`, keep what is acceptable and fold it to one row per machine and day."""
    failures = failures_of("running_times", context)
    accepted = context.drop(index=refused_rows(failures))
    warnings = warnings_by_row(failures)
    accepted = accepted.assign(warnings=warnings.reindex(accepted.index))
    rows = fold(accepted)
    return JudgedReadings(
        rows=rows,
        failures=failures,
        records_warned=int(accepted["warnings"].notna().sum()),
        records_merged=len(accepted) - len(rows),
    )


def fold(accepted: pd.DataFrame) -> pd.DataFrame:
    """Fold accepted readings to one row per machine and day: increments added up, the last counter kept (quirk 24).

    A record that only repeats another one is dropped before anything is added up (quirk 13). Where several plants
    reported, `readings` keeps what each said, so that a later sync of one plant replaces its own part alone. The order of
    the records does not matter.

    Returns:
        equipment_id, equipment_number, plant_id, plant_code, date, date_time, point, description, running_hours,
        cumulative_hours (hours), days_covered, company_code, equipment_description, object_number, api_created_at,
        warnings (list or missing), readings (dict by plant code, or missing).
    """
    in_time_order = accepted[_FOLDED].sort_values(_TIME_ORDER, kind="stable", na_position="first")
    ordered = in_time_order.drop_duplicates(DUPLICATE_KEY).assign(
        running_hours=lambda rows: rows["running_hours"].mask(rows["running_hours"] < 0)
    )
    is_several = ordered.duplicated(_MACHINE_DAY, keep=False)
    single = ordered.loc[~is_several].assign(readings=None)
    several = ordered.loc[is_several]
    folded = pd.concat([single, _together(several)]) if len(several) else single
    return folded.sort_values(_MACHINE_DAY).reset_index(drop=True)


def _together(several: pd.DataFrame) -> pd.DataFrame:
    """Fold the readings of machine-days that have several, given in the order of time."""
    days = _last_with_sums(several, _MACHINE_DAY)
    parts: dict[tuple[object, object], dict[str, object]] = {}
    for part in _last_with_sums(several, [*_MACHINE_DAY, "plant_code"]).to_dict("records"):
        parts.setdefault((part["equipment_id"], part["date"]), {})[str(part["plant_code"])] = _part(part)
    of_days = [parts[key] for key in zip(days["equipment_id"], days["date"], strict=True)]
    return days.assign(readings=pd.Series([part if len(part) > 1 else None for part in of_days], index=days.index, dtype=object))


def _last_with_sums(ordered: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Return the last row of each group with the sum of its hours, its last counter and all its warnings."""
    groups = ordered.groupby(key, sort=False)
    warned = ordered.loc[ordered["warnings"].notna(), [*key, "warnings"]].explode("warnings")
    warnings = warned.groupby(key)["warnings"].agg(lambda rules: sorted(set(rules))) if len(warned) else None
    last = ordered.drop_duplicates(key, keep="last").set_index(key)
    last = last.assign(
        running_hours=groups["running_hours"].sum(min_count=1),
        cumulative_hours=groups["cumulative_hours"].last(),
        days_covered=groups["days_covered"].max(),
        warnings=None if warnings is None else warnings.reindex(last.index).astype(object),
    )
    return last.reset_index()[ordered.columns]


def _part(part: Mapping[Hashable, Any]) -> dict[str, object]:
    """Return what one plant reported, as `storage.running_times` keeps it in `readings`."""
    return {
        "running_hours": None if pd.isna(part["running_hours"]) else round(float(part["running_hours"]), 4),
        "cumulative_hours": None if pd.isna(part["cumulative_hours"]) else round(float(part["cumulative_hours"]), 4),
        "days_covered": int(part["days_covered"]),
        "date_time": None if pd.isna(part["date_time"]) else part["date_time"].isoformat(),
        "company_code": part["company_code"] if isinstance(part["company_code"], str) else None,
        "warnings": part["warnings"] if isinstance(part["warnings"], list) else [],
    }


def _lengths(context: pd.DataFrame, zones: Mapping[str, str]) -> pd.Series:
    """Return the length of each row's local day; 24 where plant or day is unknown (such rows are refused for that)."""
    zone_of = pd.Series([zones.get(code, "UTC") for code in context["plant_code"].to_list()], index=context.index, dtype="str")
    lengths = pd.Series(24.0, index=context.index)
    for (zone, day), rows in context["date"].groupby([zone_of, context["date"]]):
        lengths.loc[rows.index] = day_hours(pd.Timestamp(str(day)).date(), str(zone))
    return lengths


def _longer(one_day_hours: pd.Series, context: pd.DataFrame, zones: Mapping[str, str], days_covered: pd.Series) -> pd.Series:
    """Return the hours of all days that each row covers, where they are more than its own."""
    several = context.loc[(days_covered > 1) & context["date"].notna()]
    lengths = [
        day_hours(day.date(), zones.get(plant_code, "UTC"), days)
        for plant_code, day, days in zip(several["plant_code"], several["date"], days_covered.loc[several.index], strict=True)
    ]
    longer = one_day_hours.copy()
    longer.loc[several.index] = lengths
    return longer


def _complete_hours(context: pd.DataFrame) -> None:
    """Fill hours that the source left out from the counter's difference to the reading before (quirks 6, 31: null is not 0).

    The reading before is one of the same day where there is one, so that hours that are added up are counted once.
    """
    is_given = context["running_hours"].notna() | context["is_running_hours_unreadable"]
    in_time_order = context.sort_values(_TIME_ORDER, kind="stable", na_position="first")
    of_day = in_time_order.groupby(["equipment_number", "date"])["cumulative_hours"]
    before_on_day = of_day.ffill().groupby([in_time_order["equipment_number"], in_time_order["date"]]).shift()
    context["is_first_of_day"] = before_on_day.reindex(context.index).isna()
    before = before_on_day.reindex(context.index).fillna(context["previous_cumulative_hours"])
    difference = context["cumulative_hours"] - before
    context["is_running_hours_given"] = is_given
    context["running_hours"] = context["running_hours"].where(is_given, difference.mask(difference < 0))


def _machine_day_hours(context: pd.DataFrame) -> pd.Series:
    """Return what all readings of each row's machine and day add up to: repeats once, readings wrong by themselves not at all."""
    counts = context["plant_id"].notna() & ~context.duplicated(DUPLICATE_KEY)
    counts &= ~(context["running_hours"] > context["day_hours"] + JITTER_HOURS)
    hours = context["running_hours"].clip(lower=0).where(counts, 0.0)
    together = hours.groupby([context["equipment_number"], context["date"]]).transform("sum")
    return together.fillna(0.0) + context["other_plants_hours"].astype("float64").fillna(0.0)


def _machine_days_covered(context: pd.DataFrame) -> pd.Series:
    """Return the most days that any reading of each row's machine and day covers."""
    together = context["days_covered"].groupby([context["equipment_number"], context["date"]]).transform("max")
    here = together.fillna(context["days_covered"])
    others = context["other_plants_days_covered"].astype("float64")
    return here.where(~(others > here), others).astype("int64")


def _days_covered(context: pd.DataFrame, one_day_hours: pd.Series) -> pd.Series:
    """Return 1, or the days since the reading before where the hours are the difference over all of them (quirk 16)."""
    days = (context["date"] - context["previous_date"]).dt.days
    difference = context["cumulative_hours"] - context["previous_cumulative_hours"]
    is_too_much = context["running_hours"] > one_day_hours + JITTER_HOURS
    is_difference = (context["running_hours"] - difference).abs() < 0.01
    is_derived = ~context["is_running_hours_given"] & difference.notna() & context["is_first_of_day"]
    spans = (days > 1) & ((is_too_much & is_difference) | is_derived)
    return days.where(spans, 1).astype("int64")
