"""Running hours of machines: from a canonical frame and its context to rows that can be written.

What belongs here: judging a whole frame at once beside what is known of the rest of the world. What does not: folding accepted
records to one row per machine and day (`domain.folding`), the policy on one day's readings (`domain.machine_days`), counters
from one reading to the next (`domain.counters`), the rules themselves (`domain.contracts`).

A machine-day that occurs once in a frame, by a record without any flag, is the rule: only the others are grouped.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pandas as pd

from cmms_pipelines.domain.contracts import failures_of
from cmms_pipelines.domain.folding import DUPLICATE_KEY, FOLDED, TIME_ORDER, fold
from cmms_pipelines.domain.machine_days import EXCEEDS_DAY, HOURS_MISSING, JITTER_HOURS, MAX_DAYS_COVERED, day_hours
from cmms_pipelines.domain.record_digests import Digests, Judgement, sealed
from cmms_pipelines.domain.rejections import Severity, refused_rows, warnings_by_row
from cmms_pipelines.domain.tallies import Tally, tally_of

_FLAGS = ("is_replaced", "is_reversed", "is_difference", "is_counting_backwards")
_NEIGHBOUR_NUMBERS = (
    "previous_cumulative_hours", "other_plants_hours", "other_plants_days_covered", "week_ago_cumulative_hours",
    "known_overflow_at", "known_counting_backwards", "is_stored",
)  # fmt: skip
# a record that fails these alone has a counter that later readings are compared with (quirk 15)
_KEEPS_COUNTER = frozenset({EXCEEDS_DAY, "machine_hours_exceed_day"})


@dataclass(frozen=True)
class JudgedReadings:
    """Records after judgement.

    Attributes:
        rows: one row per machine and day, ready to be written (see `folding.fold`).
        failures: one row per record and failed rule (see `contracts.failures_of`).
        records_warned: accepted records with at least one warning.
        records_merged: accepted records that are part of another one's row (quirks 13, 22, 24).
        refused_counters: one row per machine, day and plant without an accepted record, of records whose hours alone were
            refused (quirk 15): the columns of `rows`, hours missing. Later readings are compared with these counters.
        noted_by_rule: how many accepted records met each rule of severity warning or info.
        tally: what `tallies.critical_failures` needs, added up over the chunks of a slice.
    """

    rows: pd.DataFrame
    failures: pd.DataFrame
    records_warned: int
    records_merged: int
    refused_counters: pd.DataFrame
    noted_by_rule: Mapping[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


def with_context(
    frame: pd.DataFrame,
    plants: pd.DataFrame,
    neighbours: pd.DataFrame,
    requested_days: Sequence[date],
) -> pd.DataFrame:
    """Add to a canonical frame what the contract needs to know of the rest of the world.

    Args:
        frame: see `records.running_times_frame`; is_replaced, is_reversed, is_difference, is_counting_backwards (bool) and
            overflow_at (hours) may be absent, which means false and unknown.
        plants: plant_code, plant_id, time_zone.
        neighbours: equipment_number, date, equipment_id, previous_date, previous_cumulative_hours (the reading before that
            day), other_plants_hours and other_plants_days_covered (stated for that day by plants that are not in this
            frame), and where they are known week_ago_cumulative_hours, known_overflow_at, known_counting_backwards and
            is_stored (1.0 where there is a row of that day already).
        requested_days: the days that the source was asked for.

    Returns:
        The frame with machine_day (equal for records of one machine and day, -1 without), plant_id, equipment_id (Int64),
        previous_date, previous_cumulative_hours, days_covered, day_hours (of those days), machine_day_hours and
        machine_day_limit (of all readings together), is_date_requested, is_running_hours_given, is_several (more than one
        record of the machine and day), is_behind (the counter went back), week_ago_cumulative_hours, overflow_at,
        is_counting_backwards, is_new (nothing is stored of the machine and day). What a cancelled document states counts for
        nothing, and is left out (quirk 22).
    """
    known = plants.drop_duplicates("plant_code").set_index("plant_code")
    context = _joined(frame, neighbours)
    _fill_flags(context)
    context["is_new"] = context.pop("is_stored") == 0
    plant, codes = pd.factorize(context["plant_code"])
    context["plant_id"] = known["plant_id"].reindex(codes).astype("Int64").array.take(plant, allow_fill=True)
    days, in_seconds = context["date"].to_numpy(), [np.datetime64(day, "s") for day in requested_days]
    context["is_date_requested"] = np.isin(days, np.array(in_seconds, dtype="datetime64[s]"))
    zones = ["UTC" if pd.isna(zone) else str(zone) for zone in known["time_zone"].reindex(codes)]
    one_day_hours = _lengths(context["date"], plant, zones)
    several = context["is_several"].to_numpy().nonzero()[0]
    is_first, difference = _complete_hours(context, several, one_day_hours)
    context["days_covered"] = _days_covered(context, one_day_hours, is_first, difference)
    context["day_hours"] = _longer(one_day_hours, context["date"], plant, zones, context["days_covered"])
    _add_machine_days(context, several)
    most_days = context.pop("machine_days_covered")
    context["machine_day_limit"] = _longer(one_day_hours, context["date"], plant, zones, most_days)
    return context


def judge(context: pd.DataFrame, digests: Digests | None = None, judgement: Judgement | None = None) -> JudgedReadings:
    """Check a frame from `with_context`, keep what is acceptable and fold it to one row per machine and day.

    A row that comes from one record alone gets its digest, sealed with what it was judged by, if both are given.
    """
    failures = failures_of("running_times", context)
    listed = np.full(len(context), None, dtype=object)
    if len(failures):
        warnings = warnings_by_row(failures)
        listed[warnings.index.to_numpy()] = warnings.to_numpy()
    digest = sealed(digests, judgement, context["plant_id"], ~context["is_several"], failures)
    context = context.assign(record_digest=digest, warnings=listed)
    refused = refused_rows(failures)
    accepted = context.drop(index=refused) if len(refused) else context
    rows = fold(accepted)
    noted: Mapping[str, int] = {}
    if len(failures):
        is_noted = ~failures["row"].isin(refused) & ~failures["severity"].isin([Severity.ERROR.value])
        noted = {str(rule): int(count) for rule, count in failures.loc[is_noted, "rule"].value_counts().items()}
    return JudgedReadings(
        rows=rows,
        failures=failures,
        records_warned=int(accepted["warnings"].notna().sum()),
        records_merged=len(accepted) - len(rows),
        refused_counters=_refused_counters(context, failures, accepted) if len(refused) else rows.iloc[:0],
        noted_by_rule=noted,
        tally=tally_of("running_times", context, failures),
    )


def _refused_counters(context: pd.DataFrame, failures: pd.DataFrame, accepted: pd.DataFrame) -> pd.DataFrame:
    """Return rows without hours for plants' machine-days whose records were all refused for their hours alone (quirk 15)."""
    refusing = failures.loc[failures["severity"].isin([severity.value for severity in Severity if severity.refuses])]
    is_by_hours = refusing["rule"].isin(_KEEPS_COUNTER)
    if not is_by_hours.any():
        return context.iloc[:0][FOLDED].assign(readings=None)
    positions = refusing.loc[is_by_hours, "row"].unique()
    kept = context.loc[np.setdiff1d(positions, refusing.loc[~is_by_hours, "row"])].dropna(subset=["cumulative_hours"])
    if kept.empty:
        return kept.assign(warnings=None, readings=None)[[*FOLDED, "readings"]]
    key = ["machine_day", "plant_code"]
    kept = kept.loc[~pd.MultiIndex.from_frame(kept[key]).isin(pd.MultiIndex.from_frame(accepted[key]))]
    last = kept.sort_values(TIME_ORDER, kind="stable", na_position="first").drop_duplicates(key, keep="last")
    is_given = last["is_running_hours_given"].to_list()
    warnings = [[EXCEEDS_DAY] if given else [EXCEEDS_DAY, HOURS_MISSING] for given in is_given]
    marked = last.assign(running_hours=np.nan, days_covered=1, warnings=pd.Series(warnings, index=last.index, dtype=object))
    return marked[FOLDED].assign(readings=None).reset_index(drop=True)


def _joined(frame: pd.DataFrame, neighbours: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with its neighbours beside it, and the number of each record's machine-day."""
    numbers = pd.concat([neighbours["equipment_number"], frame["equipment_number"]], ignore_index=True)
    codes = pd.factorize(numbers)[0].astype("int64")
    days = np.concatenate([_day_numbers(neighbours["date"]), _day_numbers(frame["date"])])
    keys = np.where((codes >= 0) & (days != _NO_DAY), codes * _MOST_DAYS + days, -1)
    around, here = keys[: len(neighbours)], keys[len(neighbours) :]
    position = pd.Index(around).get_indexer(pd.Index(here))
    position[here < 0] = -1
    matched = neighbours.take(np.where(position >= 0, position, 0)) if len(neighbours) else neighbours.reindex(frame.index)
    is_missing = position < 0
    identifiers = matched["equipment_id"].astype("Int64").to_numpy(dtype="int64", na_value=0)
    previous = matched["previous_date"].astype("datetime64[s]").to_numpy()
    columns: dict[Any, Any] = dict(frame.items()) | {
        "machine_day": here,
        "is_several": pd.Series(here).duplicated(keep=False).to_numpy() & (here >= 0),
        "equipment_id": pd.arrays.IntegerArray(identifiers, is_missing | matched["equipment_id"].isna().to_numpy()),
        "previous_date": np.where(is_missing, np.datetime64("NaT", "s"), previous),
    }
    for name in _NEIGHBOUR_NUMBERS:
        values = matched[name].to_numpy(dtype="float64", na_value=np.nan) if name in matched else np.nan
        columns[name] = np.where(is_missing, np.nan, values)
    context = pd.DataFrame(columns, index=frame.index, copy=False)
    context.columns = context.columns.astype("object")  # a column more costs an Arrow-backed index several times as much
    return context


_MOST_DAYS, _NO_DAY = 1 << 24, 0


def _day_numbers(days: pd.Series) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return days as numbers from 1 on, 0 where there is none."""
    of_epoch = days.astype("datetime64[s]").to_numpy().astype("datetime64[D]")
    numbers = of_epoch.astype("int64") + (_MOST_DAYS >> 1)
    return np.where(np.isnat(of_epoch), _NO_DAY, numbers)


def _fill_flags(context: pd.DataFrame) -> None:
    """Fill what the source did not say about counters from what is known of them; a cancelled document states nothing."""
    for flag in _FLAGS:
        context[flag] = context[flag].fillna(value=False).astype("bool") if flag in context else False
    stated = context["overflow_at"].astype("float64") if "overflow_at" in context else np.nan
    known = context["known_overflow_at"].to_numpy()
    context["learned_overflow_at"] = np.where(~(stated <= known), stated, np.nan)
    context["overflow_at"] = np.fmax(stated, known)
    is_known_backwards = context["known_counting_backwards"] == 1
    context["is_learned_backwards"] = context["is_counting_backwards"] & ~is_known_backwards
    context["is_counting_backwards"] |= is_known_backwards
    if context["is_reversed"].any():
        context.loc[context["is_reversed"], ["running_hours", "cumulative_hours"]] = np.nan
        context.loc[context["is_reversed"], ["is_running_hours_unreadable", "is_cumulative_hours_unreadable"]] = False
    has_hours = context["running_hours"].notna()
    context["is_difference"] &= has_hours & context["cumulative_hours"].isna() & ~context["is_cumulative_hours_unreadable"]


def _lengths(days: pd.Series, plant: "np.ndarray[Any, Any]", zones: Sequence[str]) -> pd.Series:
    """Return the length of each row's local day; 24 where the day is unknown (such rows are refused for that)."""
    numbers = _day_numbers(days)
    pairs, inverse = np.unique(numbers * (len(zones) + 1) + plant + 1, return_inverse=True)
    lengths = [_length(int(pair // (len(zones) + 1)), int(pair % (len(zones) + 1)) - 1, zones) for pair in pairs]
    return pd.Series(np.array(lengths, dtype="float64")[inverse], index=days.index)


def _length(day_number: int, plant: int, zones: Sequence[str]) -> float:
    if day_number == _NO_DAY:
        return 24.0
    day = np.datetime64(day_number - (_MOST_DAYS >> 1), "D").astype(date)
    return day_hours(day, zones[plant] if plant >= 0 else "UTC")


def _longer(
    one_day_hours: pd.Series, days: pd.Series, plant: "np.ndarray[Any, Any]", zones: Sequence[str], days_covered: pd.Series
) -> pd.Series:
    """Return the hours of all days that each row covers, where they are more than its own."""
    several = ((days_covered > 1) & days.notna()).to_numpy().nonzero()[0]
    longer = one_day_hours.to_numpy(copy=True)
    for row, day, covered in zip(several, days.iloc[several], days_covered.iloc[several], strict=True):
        longer[row] = day_hours(day.date(), zones[plant[row]] if plant[row] >= 0 else "UTC", int(covered))
    return pd.Series(longer, index=one_day_hours.index)


def _complete_hours(
    context: pd.DataFrame, several: "np.ndarray[Any, Any]", one_day_hours: pd.Series
) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Fill hours that the source left out from the counter's difference to the reading before (quirks 6, 31: null is not 0).

    The reading before is one of the same day where there is one, so that hours that are added up are counted once. Returns
    where it is one of another day, and the difference to that day's.
    """
    context["stated_hours"] = context["running_hours"]
    is_given = context["running_hours"].notna() | context["is_running_hours_unreadable"] | context["is_reversed"]
    previous = context["previous_cumulative_hours"].to_numpy()
    before, is_first = previous.copy(), np.ones(len(context), dtype=bool)
    if len(several):
        of_day = _before_on_day(context.iloc[several])
        is_first[several] = np.isnan(of_day)
        before[several] = np.where(np.isnan(of_day), previous[several], of_day)
    sign = np.where(context["is_counting_backwards"], -1.0, 1.0)
    counter = context["cumulative_hours"].to_numpy()
    follows = context["is_difference"].to_numpy()
    counter = np.where(follows, np.round(before + sign * context["running_hours"].to_numpy(), 4), counter)
    limit = context["overflow_at"].to_numpy()
    counter = np.where(follows & (counter >= limit), counter - limit, counter)
    context["cumulative_hours"] = np.where(follows & (counter < 0), np.nan, counter)
    context["is_behind"] = (counter - previous) * sign < 0
    difference = _difference(context, counter, before, sign, one_day_hours)
    hours = np.where(difference < 0, np.nan, difference)
    context["is_running_hours_given"] = is_given
    context["is_hours_unstated"] = is_given & (context["running_hours"] < 0)
    context["running_hours"] = context["running_hours"].where(is_given, hours)
    return is_first, _difference(context, counter, previous, sign, one_day_hours)


def _difference(
    context: pd.DataFrame,
    counter: "np.ndarray[Any, Any]",
    before: "np.ndarray[Any, Any]",
    sign: "np.ndarray[Any, Any]",
    one_day_hours: pd.Series,
) -> "np.ndarray[Any, Any]":
    """Return the hours between two counters as `counters.counter_step` has them, below 0 or missing where nobody knows."""
    rise = np.round((counter - before) * sign, 4)
    falls = rise < 0
    if falls.any():
        limit = context["overflow_at"].to_numpy()
        gap = (context["date"] - context["previous_date"]).dt.days.clip(1, MAX_DAYS_COVERED).fillna(1).to_numpy()
        possible = one_day_hours.to_numpy() + (gap - 1) * 24 + JITTER_HOURS
        is_rollover = falls & (np.fmax(before, counter) <= limit) & (limit + rise <= possible)
        rise = np.where(is_rollover, np.round(limit + rise, 4), rise)
    return np.where(context["is_replaced"], np.nan, rise)


def _before_on_day(several: pd.DataFrame) -> "np.ndarray[Any, Any]":
    """Return the counter of the reading before on the same machine-day, missing where there is none."""
    in_time_order = several.sort_values(TIME_ORDER, kind="stable", na_position="first")
    counters = in_time_order["cumulative_hours"].groupby(in_time_order["machine_day"]).ffill()
    return counters.groupby(in_time_order["machine_day"]).shift().reindex(several.index).to_numpy()


def _days_covered(
    context: pd.DataFrame,
    one_day_hours: pd.Series,
    is_first: "np.ndarray[Any, Any]",
    difference: "np.ndarray[Any, Any]",
) -> pd.Series:
    """Return 1, or the days since the reading before where the hours are the difference over all of them (quirk 16)."""
    days = (context["date"] - context["previous_date"]).dt.days.clip(upper=MAX_DAYS_COVERED)
    is_too_much = context["running_hours"] > one_day_hours + JITTER_HOURS
    is_difference = np.abs(context["running_hours"] - difference) < 0.01
    is_derived = ~context["is_running_hours_given"] & (difference >= 0) & is_first
    spans = (days > 1) & ((is_too_much & is_difference) | is_derived)
    return days.where(spans, 1).astype("int64")


def _add_machine_days(context: pd.DataFrame, several: "np.ndarray[Any, Any]") -> None:
    """Add what all stated readings of each row's machine and day add up to, and the most days that any of them covers.

    Repeats count once, readings that are wrong by themselves not at all. A difference is none of these hours: where all
    together would be too many, it is left out when the day is worked out (`domain.machine_days`).
    """
    stated = context["running_hours"].where(context["is_running_hours_given"], 0.0).clip(lower=0).to_numpy()
    counts = context["plant_id"].notna().to_numpy() & ~(stated > context["day_hours"].to_numpy() + JITTER_HOURS)
    hours = np.where(counts & ~np.isnan(stated), stated, 0.0)
    days = context["days_covered"].to_numpy(copy=True)
    if len(several):
        group = context["machine_day"].iloc[several].to_numpy()
        is_repeat = context.iloc[several].duplicated(DUPLICATE_KEY).to_numpy()
        of_group = pd.Series(np.where(is_repeat, 0.0, hours[several])).groupby(group)
        hours[several] = of_group.transform("sum").to_numpy()
        days[several] = pd.Series(days[several]).groupby(group).transform("max").to_numpy()
    others = context["other_plants_hours"].to_numpy()
    context["machine_day_hours"] = hours + np.where(np.isnan(others), 0.0, others)
    context["machine_days_covered"] = np.fmax(days, context["other_plants_days_covered"].to_numpy()).astype("int64")
