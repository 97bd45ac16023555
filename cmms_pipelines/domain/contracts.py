"""The contracts of the synced tables: every rule, checked by pandera over a whole frame at once.

What belongs here: the rules with their ids, severities, meaning and advice (the specification's "Data Validation Rules" and
the policy on counters). What does not: where reference data comes from (the caller adds it as columns) and what happens to a
refused record (`storage.rejections`).

A contract is a pandera schema whose checks carry rule ids. `failures_of` runs it lazily to learn which rules were broken at
all, and asks those again for the rows: pandera's own failure cases are one for each column and row. What only shows over all
records of a plant is judged once a slice is complete (`domain.tallies`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias
from zoneinfo import available_timezones

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from cmms_pipelines.domain.machine_days import JITTER_HOURS
from cmms_pipelines.domain.regular_cells import most_bytes
from cmms_pipelines.domain.rejections import Rule, Severity, no_failures

LENGTHS: Mapping[str, int] = {
    "plant_code": 20, "name": 200, "equipment_number": 50, "company_code": 10, "equipment_description": 255, "object_number": 50,
    "point": 50, "work_order_number": 100, "title": 255, "work_type": 50, "assignee": 200, "priority": 20,
}  # fmt: skip
MAX_HOURS = 10_000_000.0  # beyond a thousand years of running: not an hour counter
PLAUSIBLE_HOURS = 219_150.0  # 25 years without a break (quirk 30)

Mask: TypeAlias = Any  # where something holds: numpy's array of bools, or a series


class Cells:
    """The columns of a frame as the rules look at them: numpy's where it has such, since its steps cost less than pandas'."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __getitem__(self, column: str) -> Any:  # noqa: ANN401 - an array or a series
        cells = self._frame[column]
        return cells.to_numpy() if isinstance(cells.dtype, np.dtype) and cells.dtype != object else cells

    def __contains__(self, column: str) -> bool:
        return column in self._frame

    def __len__(self) -> int:
        return len(self._frame)


Predicate = Callable[[Cells], Mask]


@dataclass(frozen=True)
class CheckedRule:
    """A rule and the predicate that tells, row by row of the frame, where it holds."""

    rule: Rule
    holds: Predicate


def _rule(column: str, rule_id: str, severity: Severity, message: str, holds: Predicate) -> CheckedRule:
    return CheckedRule(Rule(rule_id, column, severity, message), holds)


def _required(column: str) -> CheckedRule:
    """Require a value; one that is there but unreadable is the business of `_readable`."""

    def holds(cells: Cells) -> Mask:
        is_given = pd.notna(cells[column])
        unreadable = f"is_{column}_unreadable"
        return is_given | cells[unreadable] if unreadable in cells else is_given

    return _rule(column, f"{column}_missing", Severity.ERROR, f"{column} is required and empty: fill it at the source.", holds)


def _readable(column: str, what: str) -> CheckedRule:
    message = f"{column} is not {what}: correct it at the source."
    return _rule(column, f"{column}_invalid", Severity.ERROR, message, lambda cells: ~cells[f"is_{column}_unreadable"])


def _short_enough(column: str) -> CheckedRule:
    limit = LENGTHS[column]
    message = f"{column} is longer than {limit} characters: shorten it at the source."

    def holds(cells: Cells) -> Mask:
        if column not in cells or most_bytes(cells[column]) <= limit:
            return np.ones(len(cells), dtype="bool")
        return ~(cells[column].str.len() > limit)

    return _rule(column, f"{column}_too_long", Severity.ERROR, message, holds)


def _at_least_zero(column: str) -> CheckedRule:
    message = f"{column} is negative, which no hour counter is: correct it at the source."
    return _rule(column, f"{column}_negative", Severity.ERROR, message, lambda cells: ~(cells[column] < 0))


def _plant_known() -> CheckedRule:
    message = "The plant is not in cmms.plants: add it there (CMMS_PLANTS_FILE or the API's plants), then replay."
    return _rule(
        "plant_code",
        "plant_unknown",
        Severity.ERROR,
        message,
        lambda cells: pd.notna(cells["plant_id"]) | pd.isna(cells["plant_code"]),
    )


PLANT_RULES: Sequence[CheckedRule] = (
    _required("plant_code"),
    _short_enough("plant_code"),
    _short_enough("name"),
    _readable("is_active", "a flag"),
    _rule(
        "time_zone",
        "time_zone_unknown",
        Severity.ERROR,
        "time_zone is no name of the IANA database, such as Europe/Berlin: correct it in the plants file or at the source.",
        lambda cells: pd.isna(cells["time_zone"]) | cells["time_zone"].isin(available_timezones()),
    ),
    _rule(
        "plant_code",
        "plant_code_not_unique",
        Severity.ERROR,
        "The plant code comes twice, and the first record is kept: remove the other one from the plants file or at the source.",
        lambda cells: ~cells["plant_code"].duplicated() | pd.isna(cells["plant_code"]),
    ),
)

EQUIPMENT_RULES: Sequence[CheckedRule] = (
    _required("equipment_number"),
    _short_enough("equipment_number"),
    _required("plant_code"),
    _plant_known(),
    _short_enough("company_code"),
    _short_enough("equipment_description"),
    _short_enough("object_number"),
    _short_enough("point"),
    _readable("is_active", "a flag"),
    _readable("api_created_at", "a timestamp"),
    _required("api_created_at"),
    _rule(
        "equipment_number",
        "equipment_number_not_unique",
        Severity.ERROR,
        "The equipment number comes twice with different values, and the newest record is kept: remove the other one at the "
        "source.",
        lambda cells: ~cells["is_superseded"],
    ),
)


def _hours_fit_day(cells: Cells, slack: float) -> Mask:
    return ~(cells["running_hours"] > cells["day_hours"] + slack)


def _is_first_and_negative(cells: Cells) -> Mask:
    """Tell where a counter went back against a reading that nobody here has (policy on counters: stored, never negative)."""
    is_first = pd.isna(cells["previous_cumulative_hours"]) & pd.notna(cells["cumulative_hours"]) & ~cells["is_difference"]
    return is_first & (cells["running_hours"] < 0) & ~cells["is_replaced"]


RUNNING_TIME_RULES: Sequence[CheckedRule] = (
    _required("equipment_number"),
    _short_enough("equipment_number"),
    _required("plant_code"),
    _plant_known(),
    _readable("date", "a date"),
    _required("date"),
    _rule(
        "date",
        "date_not_requested",
        Severity.ERROR,
        "The source sent a day that was not asked for: check its date filter; that day's own sync brings the reading.",
        lambda cells: cells["is_date_requested"] | pd.isna(cells["date"]),
    ),
    _readable("date_time", "a timestamp"),
    _readable("running_hours", "a number"),
    _readable("cumulative_hours", "a number"),
    _rule(
        "running_hours",
        "reading_missing",
        Severity.ERROR,
        "Neither running hours nor a counter came, so the record says nothing: enter the reading at the source.",
        lambda cells: (
            pd.notna(cells["running_hours"])
            | pd.notna(cells["cumulative_hours"])
            | cells["is_running_hours_unreadable"]
            | cells["is_cumulative_hours_unreadable"]
            | cells["is_reversed"]
        ),
    ),
    _rule(
        "running_hours",
        "running_hours_negative",
        Severity.ERROR,
        "running_hours is negative although the counter did not go back: correct it at the source.",
        lambda cells: (
            ~((cells["running_hours"] < 0) & ~cells["is_behind"] & ~cells["is_replaced"]) | _is_first_and_negative(cells)
        ),
    ),
    _rule(
        "running_hours",
        "first_hours_negative",
        Severity.WARNING,
        "running_hours is negative at the first reading that is known of the machine: its counter is stored without hours, as "
        "what later readings are compared with. Nothing to do.",
        lambda cells: ~_is_first_and_negative(cells),
    ),
    _at_least_zero("cumulative_hours"),
    _rule(
        "cumulative_hours",
        "cumulative_hours_too_large",
        Severity.ERROR,
        "cumulative_hours is more than an hour counter can show: look at its unit at the source.",
        lambda cells: ~(cells["cumulative_hours"] >= MAX_HOURS),
    ),
    _rule(
        "running_hours",
        "running_hours_exceed_day",
        Severity.ERROR,
        "More hours than the days that the reading covers have, by more than the hour that snapshots may jitter: correct them "
        "at the source. The counter is kept without hours, as what later readings are compared with.",
        lambda cells: _hours_fit_day(cells, JITTER_HOURS),
    ),
    _rule(
        "running_hours",
        "running_hours_over_day",
        Severity.WARNING,
        "Up to an hour more than the day has: the snapshots were not taken at the same time of day. Nothing to do.",
        lambda cells: _hours_fit_day(cells, 0.0) | ~_hours_fit_day(cells, JITTER_HOURS),
    ),
    _rule(
        "running_hours",
        "machine_hours_exceed_day",
        Severity.ERROR,
        "All readings of this machine and day together have more hours than the day: correct them at the source.",
        lambda cells: ~(cells["machine_day_hours"] > cells["machine_day_limit"] + JITTER_HOURS),
    ),
    _rule(
        "cumulative_hours",
        "counter_went_back",
        Severity.WARNING,
        "The counter is lower than at the reading before: a counter event is recorded, lifetime hours go on. Where it passed "
        "its limit or was swapped, say so at the source; else look at the machine.",
        lambda cells: ~cells["is_behind"],
    ),
    _rule(
        "running_hours",
        "reading_spans_days",
        Severity.WARNING,
        "The hours are those of several days, since the reading before: they are stored with the days they cover. Ask the "
        "source for the days in between if it has them.",
        lambda cells: cells["days_covered"] == 1,
    ),
    _rule(
        "cumulative_hours",
        "cumulative_hours_implausible",
        Severity.WARNING,
        "The counter shows more than 25 years of running without a break: look at it, and at its unit at the source.",
        lambda cells: ~(cells["cumulative_hours"] >= PLAUSIBLE_HOURS) | (cells["cumulative_hours"] >= MAX_HOURS),
    ),
    _rule(
        "running_hours",
        "running_hours_missing",
        Severity.WARNING,
        "Only the counter came; running hours are its difference to the reading before, or empty without one. Nothing to do.",
        lambda cells: cells["is_running_hours_given"] | pd.isna(cells["cumulative_hours"]),
    ),
    _short_enough("company_code"),
    _short_enough("equipment_description"),
    _short_enough("object_number"),
    _short_enough("point"),
    _readable("api_created_at", "a timestamp"),
    _required("api_created_at"),
    _rule(
        "equipment_number",
        "equipment_unknown",
        Severity.ERROR,
        "No master record for this equipment: the reading waits and is applied once the equipment arrives. Where it should have "
        "arrived, ask for its master record at the source; where it never will, discard the reading.",
        lambda cells: pd.notna(cells["equipment_id"]) | pd.isna(cells["equipment_number"]),
    ),
    _rule(
        "is_reversed",
        "reading_cancelled",
        Severity.INFO,
        "The document was cancelled: the reading is taken off its day, and comes back when the cancellation is taken back. "
        "Nothing to do.",
        lambda cells: ~cells["is_reversed"],
    ),
    _rule(
        "is_replaced",
        "counter_replaced",
        Severity.INFO,
        "The source says that the counter was swapped: a counter event is recorded, lifetime hours go on. Nothing to do.",
        lambda cells: ~cells["is_replaced"] | cells["is_reversed"],
    ),
    _rule(
        "cumulative_hours",
        "counter_from_difference",
        Severity.INFO,
        "Only the hours since the reading before were entered: the counter follows from them. Nothing to do.",
        lambda cells: ~cells["is_difference"],
    ),
    _rule(
        "cumulative_hours",
        "cumulative_hours_missing",
        Severity.INFO,
        "Only the hours came, although the machine has a counter: they show in its lifetime hours once a counter comes. Enter "
        "the counter at the source.",
        lambda cells: cells["is_counter_on_day"] | pd.isna(cells["running_hours"]) | pd.isna(cells["previous_cumulative_hours"]),
    ),
    _rule(
        "cumulative_hours",
        "counter_stands_still",
        Severity.INFO,
        "The counter shows what it showed a week before: if the machine ran, look at the counter.",
        lambda cells: (
            ~(
                (cells["cumulative_hours"] == cells["week_ago_cumulative_hours"])
                & (cells["cumulative_hours"] == cells["previous_cumulative_hours"])
            )
        ),
    ),
)

WORK_ORDER_RULES: Sequence[CheckedRule] = (
    _required("work_order_number"),
    _short_enough("work_order_number"),
    _short_enough("equipment_number"),
    _plant_known(),
    _readable("status", "a status that is known (docs/source_data.md)"),
    _required("status"),
    _short_enough("title"),
    _short_enough("work_type"),
    _short_enough("assignee"),
    _short_enough("priority"),
    _readable("scheduled_at", "a date"),
    _readable("due_at", "a date"),
    _readable("completed_at", "a date"),
    _readable("closed_at", "a date"),
    _readable("updated_at", "a timestamp"),
    _required("updated_at"),
    _rule(
        "equipment_number",
        "equipment_unknown",
        Severity.ERROR,
        "No master record for this equipment: the order waits and is applied once the equipment arrives. Where it should have "
        "arrived, ask for its master record at the source; where it never will, discard the order.",
        lambda cells: pd.notna(cells["equipment_id"]) | pd.isna(cells["equipment_number"]),
    ),
)

CONTRACTS: Mapping[str, Sequence[CheckedRule]] = {
    "plants": PLANT_RULES,
    "equipment": EQUIPMENT_RULES,
    "running_times": RUNNING_TIME_RULES,
    "work_orders": WORK_ORDER_RULES,
}


@cache
def schema_of(table: str) -> pa.DataFrameSchema:
    """Return the pandera schema of a contract; every check is over the frame and named by its rule."""
    checks = [pa.Check(_held_by_all(checked), name=checked.rule.id, error=checked.rule.id) for checked in CONTRACTS[table]]
    return pa.DataFrameSchema(checks=checks, name=table)


def _held_by_all(checked: CheckedRule) -> Callable[[pd.DataFrame], bool]:
    return lambda frame: bool(checked.holds(Cells(frame)).all())


def failures_of(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Check `frame` (index 0..n-1) against the contract of `table`, all rules over all rows.

    Returns:
        One row per record and failed rule: row (position of the record), rule, severity, column, message; a record's rows
        stand in the order of the contract, so that the first one is what an operator should look at first.
    """
    if frame.empty:
        return no_failures()
    try:
        schema_of(table).validate(frame, lazy=True, inplace=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
    else:
        return no_failures()
    is_ours = cases["failure_case"].map(lambda case: case is False or str(case) == "False")
    if not is_ours.all():  # a check that itself failed: our mistake, and not to be taken for a fault of the records
        first = cases.loc[~is_ours, ["check", "failure_case"]].iloc[0].to_list()
        raise RuntimeError(f"The contract of {table} could not be checked: {first}")
    broken = set(cases["check"])
    rules, cells = [checked for checked in CONTRACTS[table] if checked.rule.id in broken], Cells(frame)
    rows = [(~np.asarray(checked.holds(cells), dtype=bool)).nonzero()[0] for checked in rules]
    positions = np.concatenate(rows)
    which = np.repeat(np.arange(len(rules)), [len(of_rule) for of_rule in rows])
    order = np.lexsort((which, positions))
    told = [checked.rule for checked in rules]
    columns = {
        "rule": [rule.id for rule in told],
        "severity": [rule.severity.value for rule in told],
        "column": [rule.column for rule in told],
        "message": [rule.message for rule in told],
    }
    texts = {name: pd.array(values, dtype="str").take(which[order]) for name, values in columns.items()}
    return pd.DataFrame({"row": positions[order], **texts})
