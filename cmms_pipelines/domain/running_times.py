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
    "known_overflow_at", "known_counting_backwards", "is_stored", "is_locked",
)  # fmt: skip
# a record that fails these alone has a counter that later readings are compared with (quirk 15)
_KEEPS_COUNTER = frozenset({EXCEEDS_DAY, "machine_hours_exceed_day"})


Columns = dict[Any, Any]  # numpy's arrays, and pandas' of texts, zoned instants and nullable numbers


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
    neighbour_rows: "np.ndarray[Any, np.dtype[np.int64]] | None" = None,
) -> pd.DataFrame:
    """Add to a canonical frame what the contract needs to know of the rest of the world.

    Args:
        frame: see `records.running_times_frame`; is_replaced, is_reversed, is_difference, is_counting_backwards (bool) and
            overflow_at (hours) may be absent, which means false and unknown.
        plants: plant_code, plant_id, time_zone.
        neighbours: equipment_number, date, equipment_id, previous_date, previous_cumulative_hours (the reading before that
            day), other_plants_hours and other_plants_days_covered (stated for that day by plants that are not in this
            frame), and where they are known week_ago_cumulative_hours, known_overflow_at, known_counting_backwards,
            is_stored (1.0 where there is a row of that day already) and is_locked (1.0 where this stays so until the frame
            is written).
        requested_days: the days that the source was asked for.
        neighbour_rows: the row of each record's machine and day among the neighbours, if somebody knows them all; by default
            they are found by their keys.

    Returns:
        The frame with machine_day (equal for records of one machine and day, -1 without), plant_id, equipment_id (Int64),
        previous_date, previous_cumulative_hours, days_covered, day_hours (of those days), machine_day_hours and
        machine_day_limit (of all readings together), is_date_requested, is_running_hours_given, is_several (more than one
        record of the machine and day), is_counter_on_day (one of those has a counter, readable or not), is_behind (the
        counter went back), week_ago_cumulative_hours, overflow_at, is_counting_backwards, is_new (nothing is stored of the
        machine and day), is_locked, is_settled (the reading before cannot have become another one, and nothing follows from
        it but what the record states itself). What a cancelled document states counts for nothing, and is left out (quirk 22).
    """
    columns = _joined(frame, neighbours, neighbour_rows)
    _fill_flags(columns)
    columns["is_new"] = columns.pop("is_stored") == 0
    columns["is_locked"] = columns["is_locked"] == 1
    plant, codes = pd.factorize(frame["plant_code"])
    columns["plant_id"], zones = _of_plants(plants, plant, list(codes))
    in_seconds = [np.datetime64(day, "s") for day in requested_days]
    columns["is_date_requested"] = np.isin(columns["date"], np.array(in_seconds, dtype="datetime64[s]"))
    days = _LocalDays(columns["date"], plant, zones)
    several = columns["is_several"].nonzero()[0]
    is_first, difference = _complete_hours(columns, several, days)
    columns["days_covered"] = _days_covered(columns, days, is_first, difference)
    columns["day_hours"] = days.hours_of(columns["days_covered"])
    columns["is_settled"] = columns["is_locked"] & ~_is_special(columns) & (columns["days_covered"] == 1)
    most_days = _add_machine_days(columns, several)
    columns["is_counter_on_day"] = _is_counter_on_day(columns, several)
    columns["machine_day_limit"] = days.hours_of(most_days)
    context = pd.DataFrame(columns, index=frame.index, copy=False)
    context.columns = context.columns.astype("object")  # a column more costs an Arrow-backed index several times as much
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


def _joined(frame: pd.DataFrame, neighbours: pd.DataFrame, rows: "np.ndarray[Any, np.dtype[np.int64]] | None") -> Columns:
    """Return the columns of the frame with its neighbours beside them, and the number of each record's machine-day."""
    if rows is None:
        machine_day, at = _found_by_key(frame, neighbours)
        around = neighbours.reset_index(drop=True).reindex(range(len(neighbours) + 1))  # behind the last one stands nothing
    else:
        machine_day = at = rows
        around = neighbours
    machines = around["equipment_id"].astype("Int64")
    identifiers, is_unknown = machines.to_numpy("int64", na_value=0), machines.isna().to_numpy()
    columns: Columns = {
        name: values.to_numpy() if isinstance(values.dtype, np.dtype) else values.array for name, values in frame.items()
    }
    columns |= {
        "machine_day": machine_day,
        "is_several": pd.Series(machine_day).duplicated(keep=False).to_numpy() & (machine_day >= 0),
        "equipment_id": pd.arrays.IntegerArray(identifiers[at], is_unknown[at]),
        "previous_date": around["previous_date"].to_numpy(dtype="datetime64[s]")[at],
    }
    for name in _NEIGHBOUR_NUMBERS:
        columns[name] = (
            around[name].to_numpy(dtype="float64", na_value=np.nan)[at] if name in around else np.full(len(at), np.nan)
        )
    return columns


def _found_by_key(
    frame: pd.DataFrame, neighbours: pd.DataFrame
) -> "tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.intp]]]":
    """Return the number of each record's machine-day, and the row of its neighbours, the one behind the last if it has none."""
    numbers = pd.concat([neighbours["equipment_number"], frame["equipment_number"]], ignore_index=True)
    codes = pd.factorize(numbers)[0].astype("int64")
    days = np.concatenate([_day_numbers(neighbours["date"].to_numpy()), _day_numbers(frame["date"].to_numpy())])
    keys = np.where((codes >= 0) & (days != _NO_DAY), codes * _MOST_DAYS + days, -1)
    around, here = keys[: len(neighbours)], keys[len(neighbours) :]
    position = pd.Index(around).get_indexer(pd.Index(here))
    return here, np.where((position < 0) | (here < 0), len(neighbours), position)


def _of_plants(
    plants: pd.DataFrame, plant: "np.ndarray[Any, Any]", codes: Sequence[str]
) -> tuple[pd.arrays.IntegerArray, list[str]]:
    """Return each row's plant_id, and the time zone of each of the `codes` that `plant` numbers; UTC where nobody knows it."""
    known = {code: at for at, code in reversed(list(enumerate(plants["plant_code"])))}
    at = [known.get(code, -1) for code in codes]
    identifiers, zones = plants["plant_id"].to_list(), plants["time_zone"].to_list()
    of_codes = [None if place < 0 or pd.isna(identifiers[place]) else int(identifiers[place]) for place in at]
    ids = np.array([identifier or 0 for identifier in of_codes] + [0], dtype="int64")
    is_unknown = np.array([identifier is None for identifier in of_codes] + [True])
    names = ["UTC" if place < 0 or pd.isna(zones[place]) else str(zones[place]) for place in at]
    return pd.arrays.IntegerArray(ids[plant], is_unknown[plant]), names


_MOST_DAYS, _NO_DAY = 1 << 24, 0


def _day_numbers(days: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return days as numbers from 1 on, 0 where there is none."""
    of_epoch = days.astype("datetime64[D]")
    numbers = of_epoch.astype("int64") + (_MOST_DAYS >> 1)
    return np.where(np.isnat(of_epoch), _NO_DAY, numbers)


def _fill_flags(columns: Columns) -> None:
    """Fill what the source did not say about counters from what is known of them; a cancelled document states nothing."""
    count = len(columns["machine_day"])
    for flag in _FLAGS:
        said = pd.Series(columns[flag]).fillna(value=False) if flag in columns else pd.Series(np.zeros(count))
        columns[flag] = said.to_numpy("bool")
    stated = pd.Series(columns["overflow_at"]).to_numpy("float64", na_value=np.nan) if "overflow_at" in columns else np.nan
    known = columns["known_overflow_at"]
    columns["learned_overflow_at"] = np.where(~(stated <= known), stated, np.nan)
    columns["overflow_at"] = np.fmax(stated, known)
    is_known_backwards = columns["known_counting_backwards"] == 1
    columns["is_learned_backwards"] = columns["is_counting_backwards"] & ~is_known_backwards
    columns["is_counting_backwards"] = columns["is_counting_backwards"] | is_known_backwards
    is_reversed = columns["is_reversed"]
    if is_reversed.any():
        for name in ("running_hours", "cumulative_hours"):
            columns[name] = np.where(is_reversed, np.nan, columns[name])
            columns[f"is_{name}_unreadable"] = columns[f"is_{name}_unreadable"] & ~is_reversed
    has_hours_alone = ~np.isnan(columns["running_hours"]) & np.isnan(columns["cumulative_hours"])
    columns["is_difference"] = columns["is_difference"] & has_hours_alone & ~columns["is_cumulative_hours_unreadable"]


def _is_special(columns: Columns) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Tell where more than one record, or what is known of the counter, decides about a machine-day."""
    special = (
        "is_several",
        "is_replaced",
        "is_reversed",
        "is_difference",
        "is_counting_backwards",
        "is_behind",
        "is_hours_unstated",
    )
    is_special: np.ndarray[Any, np.dtype[np.bool_]] = np.logical_or.reduce([columns[name] for name in special])
    return is_special


class _LocalDays:
    """The days of some rows by the clocks of their plants; days that are unknown have 24 hours, and are refused for that."""

    def __init__(self, days: "np.ndarray[Any, Any]", plant: "np.ndarray[Any, Any]", zones: Sequence[str]) -> None:
        """`plant` gives the place of each row's zone among the `zones`, below 0 for UTC."""
        self._days = days.astype("datetime64[D]")
        self._plant = plant
        self._zones = [*zones, "UTC"]
        pairs, inverse = np.unique(_day_numbers(days) * len(self._zones) + plant + 1, return_inverse=True)
        of_pairs = [self._length(*divmod(int(pair), len(self._zones))) for pair in pairs]
        self.hours: np.ndarray[Any, np.dtype[np.float64]] = np.array(of_pairs, dtype="float64")[inverse]

    def hours_of(self, days_covered: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Return the hours of all days that each row covers: its own and those before it."""
        hours = self.hours.copy()
        for row in ((days_covered > 1) & ~np.isnat(self._days)).nonzero()[0].tolist():
            hours[row] = day_hours(self._days[row].astype(date), self._zones[self._plant[row]], int(days_covered[row]))
        return hours

    def _length(self, day_number: int, plant: int) -> float:
        if day_number == _NO_DAY:
            return 24.0
        day = np.datetime64(day_number - (_MOST_DAYS >> 1), "D").astype(date)
        return day_hours(day, self._zones[plant - 1])


def _complete_hours(
    columns: Columns, several: "np.ndarray[Any, Any]", days: _LocalDays
) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Fill hours that the source left out from the counter's difference to the reading before (quirks 6, 31: null is not 0).

    The reading before is one of the same day where there is one, so that hours that are added up are counted once. Returns
    where it is one of another day, and the difference to that day's.
    """
    stated = columns["stated_hours"] = columns["running_hours"]
    is_given = ~np.isnan(stated) | columns["is_running_hours_unreadable"] | columns["is_reversed"]
    previous = columns["previous_cumulative_hours"]
    before, is_first = previous.copy(), np.ones(len(stated), dtype=bool)
    if len(several):
        of_day = _before_on_day(_rows_of(columns, several, ["machine_day", *TIME_ORDER]))
        is_first[several] = np.isnan(of_day)
        before[several] = np.where(np.isnan(of_day), previous[several], of_day)
    sign = np.where(columns["is_counting_backwards"], -1.0, 1.0)
    counter = columns["cumulative_hours"]
    follows = columns["is_difference"]
    if follows.any():
        counter = np.where(follows, np.round(before + sign * stated, 4), counter)
        limit = columns["overflow_at"]
        counter = np.where(follows & (counter >= limit), counter - limit, counter)
        columns["cumulative_hours"] = np.where(follows & (counter < 0), np.nan, counter)
    columns["is_behind"] = (counter - previous) * sign < 0
    difference = _difference(columns, counter, before, sign, days)
    columns["is_running_hours_given"] = is_given
    columns["is_hours_unstated"] = is_given & (stated < 0)
    columns["running_hours"] = np.where(is_given, stated, np.where(difference < 0, np.nan, difference))
    return is_first, _difference(columns, counter, previous, sign, days) if len(several) else difference


def _rows_of(columns: Columns, rows: "np.ndarray[Any, Any]", names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: columns[name].take(rows) for name in names})


def _difference(
    columns: Columns,
    counter: "np.ndarray[Any, Any]",
    before: "np.ndarray[Any, Any]",
    sign: "np.ndarray[Any, Any]",
    days: _LocalDays,
) -> "np.ndarray[Any, Any]":
    """Return the hours between two counters as `counters.counter_step` has them, below 0 or missing where nobody knows."""
    rise = np.round((counter - before) * sign, 4)
    falls = rise < 0
    if falls.any():
        limit = columns["overflow_at"]
        possible = days.hours + (np.nan_to_num(_gap(columns), nan=1.0).clip(1, MAX_DAYS_COVERED) - 1) * 24 + JITTER_HOURS
        is_rollover = falls & (np.fmax(before, counter) <= limit) & (limit + rise <= possible)
        rise = np.where(is_rollover, np.round(limit + rise, 4), rise)
    return np.where(columns["is_replaced"], np.nan, rise)


def _gap(columns: Columns) -> "np.ndarray[Any, Any]":
    """Return the days since the reading before, missing where either is."""
    gap = (columns["date"] - columns["previous_date"]).astype("timedelta64[D]")
    return np.where(np.isnat(gap), np.nan, gap.astype("int64").astype("float64"))


def _before_on_day(several: pd.DataFrame) -> "np.ndarray[Any, Any]":
    """Return the counter of the reading before on the same machine-day, missing where there is none."""
    in_time_order = several.sort_values(TIME_ORDER, kind="stable", na_position="first")
    counters = in_time_order["cumulative_hours"].groupby(in_time_order["machine_day"]).ffill()
    return counters.groupby(in_time_order["machine_day"]).shift().reindex(several.index).to_numpy()


def _days_covered(
    columns: Columns, days: _LocalDays, is_first: "np.ndarray[Any, Any]", difference: "np.ndarray[Any, Any]"
) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return 1, or the days since the reading before where the hours are the difference over all of them (quirk 16)."""
    gap = np.fmin(_gap(columns), MAX_DAYS_COVERED)
    hours = columns["running_hours"]
    is_over_all = (hours > days.hours + JITTER_HOURS) & (np.abs(hours - difference) < 0.01)
    is_derived = ~columns["is_running_hours_given"] & (difference >= 0) & is_first
    return np.where((gap > 1) & (is_over_all | is_derived), gap, 1).astype("int64")


def _is_counter_on_day(columns: Columns, several: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Tell where any record of the machine and day brought a counter: of two plants' hours one may come without."""
    is_there: np.ndarray[Any, np.dtype[np.bool_]] = ~np.isnan(columns["cumulative_hours"])
    is_there |= columns["is_cumulative_hours_unreadable"]
    if len(several):
        of_group = pd.Series(is_there[several]).groupby(columns["machine_day"][several])
        is_there[several] = of_group.transform("any").to_numpy()
    return is_there


def _add_machine_days(columns: Columns, several: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Add what all stated readings of each row's machine and day add up to; return the most days that any of them covers.

    Repeats count once, readings that are wrong by themselves not at all. A difference is none of these hours: where all
    together would be too many, it is left out when the day is worked out (`domain.machine_days`).
    """
    stated = np.maximum(np.where(columns["is_running_hours_given"], columns["running_hours"], 0.0), 0.0)
    counts = ~columns["plant_id"].isna() & ~(stated > columns["day_hours"] + JITTER_HOURS)
    hours = np.where(counts & ~np.isnan(stated), stated, 0.0)
    days = columns["days_covered"].copy()
    if len(several):
        group = columns["machine_day"][several]
        is_repeat = _rows_of(columns, several, DUPLICATE_KEY).duplicated().to_numpy()
        of_group = pd.Series(np.where(is_repeat, 0.0, hours[several])).groupby(group)
        hours[several] = of_group.transform("sum").to_numpy()
        days[several] = pd.Series(days[several]).groupby(group).transform("max").to_numpy()
    columns["machine_day_hours"] = hours + np.nan_to_num(columns["other_plants_hours"], nan=0.0)
    most: np.ndarray[Any, np.dtype[np.int64]] = np.fmax(days, columns["other_plants_days_covered"]).astype("int64")
    return most
