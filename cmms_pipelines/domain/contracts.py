"""The contracts of the three synced tables: every rule, checked by pandera over a whole frame at once.

What belongs here: the rules with their ids, severities and advice (the specification's "Data Validation Rules" and the
policy on counters). What does not: where reference data comes from (the caller adds it as columns) and what happens to a
refused record (`storage.rejections`).

A contract is a pandera schema whose checks carry rule ids; `failures_of` runs it lazily and folds pandera's failure cases
into one row per record and rule.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from zoneinfo import available_timezones

import pandas as pd
import pandera.pandas as pa
from pandera.errors import SchemaErrors

from cmms_pipelines.domain.rejections import Rule, Severity, no_failures

JITTER_HOURS = 1.0  # daily snapshots are taken up to an hour early or late (quirk 14)
LENGTHS: Mapping[str, int] = {
    "plant_code": 20, "name": 200, "equipment_number": 50, "company_code": 10, "equipment_description": 255, "object_number": 50,
    "point": 50,
}  # fmt: skip
MAX_HOURS = 10_000_000.0  # beyond a thousand years of running: not an hour counter

Predicate = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class CheckedRule:
    """A rule and the predicate that tells, row by row of the frame, where it holds."""

    rule: Rule
    holds: Predicate


def _rule(column: str, rule_id: str, severity: Severity, message: str, holds: Predicate) -> CheckedRule:
    return CheckedRule(Rule(rule_id, column, severity, message), holds)


def _required(column: str) -> CheckedRule:
    """Require a value; one that is there but unreadable is the business of `_readable`."""

    def holds(frame: pd.DataFrame) -> pd.Series:
        unreadable = frame.get(f"is_{column}_unreadable")
        return frame[column].notna() if unreadable is None else frame[column].notna() | unreadable

    return _rule(column, f"{column}_missing", Severity.ERROR, f"{column} is required and empty: fill it at the source.", holds)


def _readable(column: str, what: str) -> CheckedRule:
    message = f"{column} is not {what}: correct it at the source."
    return _rule(column, f"{column}_invalid", Severity.ERROR, message, lambda frame: ~frame[f"is_{column}_unreadable"])


def _short_enough(column: str) -> CheckedRule:
    limit = LENGTHS[column]
    message = f"{column} is longer than {limit} characters: shorten it at the source."
    return _rule(column, f"{column}_too_long", Severity.ERROR, message, lambda frame: ~(frame[column].str.len() > limit))


def _at_least_zero(column: str) -> CheckedRule:
    message = f"{column} is negative: an hour counter cannot be."
    return _rule(column, f"{column}_negative", Severity.ERROR, message, lambda frame: ~(frame[column] < 0))


def _plant_known() -> CheckedRule:
    message = "The plant is not in cmms.plants: add it there (CMMS_PLANTS_FILE or the API's plants), then replay."
    return _rule(
        "plant_code",
        "plant_unknown",
        Severity.ERROR,
        message,
        lambda frame: frame["plant_id"].notna() | frame["plant_code"].isna(),
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
        "time_zone is no name of the IANA database (example: Europe/Berlin).",
        lambda frame: frame["time_zone"].isna() | frame["time_zone"].isin(available_timezones()),
    ),
    _rule(
        "plant_code",
        "plant_code_not_unique",
        Severity.ERROR,
        "The plant code comes twice; the first record is kept.",
        lambda frame: ~frame["plant_code"].duplicated() | frame["plant_code"].isna(),
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
        "The equipment number comes twice with different values; the newest record is kept.",
        lambda frame: ~frame["is_superseded"],
    ),
)


def _compares_lower(frame: pd.DataFrame) -> pd.Series:
    return frame["cumulative_hours"] < frame["previous_cumulative_hours"]


def _hours_fit_day(frame: pd.DataFrame, slack: float) -> pd.Series:
    return ~(frame["running_hours"] > frame["day_hours"] + slack)


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
        lambda frame: frame["is_date_requested"] | frame["date"].isna(),
    ),
    _readable("date_time", "a timestamp"),
    _readable("running_hours", "a number"),
    _readable("cumulative_hours", "a number"),
    _rule(
        "running_hours",
        "reading_missing",
        Severity.ERROR,
        "Neither running hours nor a counter: the record says nothing.",
        lambda frame: (
            frame["running_hours"].notna()
            | frame["cumulative_hours"].notna()
            | frame["is_running_hours_unreadable"]
            | frame["is_cumulative_hours_unreadable"]
        ),
    ),
    _rule(
        "running_hours",
        "running_hours_negative",
        Severity.ERROR,
        "running_hours is negative although the counter did not go back: correct it at the source.",
        lambda frame: ~((frame["running_hours"] < 0) & ~_compares_lower(frame)),
    ),
    _at_least_zero("cumulative_hours"),
    _rule(
        "cumulative_hours",
        "cumulative_hours_too_large",
        Severity.ERROR,
        "cumulative_hours is more than an hour counter can show: look at its unit at the source.",
        lambda frame: ~(frame["cumulative_hours"] >= MAX_HOURS),
    ),
    _rule(
        "running_hours",
        "running_hours_exceed_day",
        Severity.ERROR,
        "More hours than the days that the reading covers have, by more than the hour that snapshots may jitter.",
        lambda frame: _hours_fit_day(frame, JITTER_HOURS),
    ),
    _rule(
        "running_hours",
        "running_hours_over_day",
        Severity.WARNING,
        "Up to an hour more than the day has: the snapshots were not taken at the same time of day.",
        lambda frame: _hours_fit_day(frame, 0.0) | ~_hours_fit_day(frame, JITTER_HOURS),
    ),
    _rule(
        "running_hours",
        "machine_hours_exceed_day",
        Severity.ERROR,
        "All readings of this machine and day together have more hours than the day: correct them at the source.",
        lambda frame: ~(frame["machine_day_hours"] > frame["machine_day_limit"] + JITTER_HOURS),
    ),
    _rule(
        "cumulative_hours",
        "counter_went_back",
        Severity.WARNING,
        "The counter is lower than at the reading before: a counter event is recorded, lifetime hours go on.",
        lambda frame: ~_compares_lower(frame),
    ),
    _rule(
        "running_hours",
        "reading_spans_days",
        Severity.WARNING,
        "The hours are those of several days, since the reading before: they are stored with the days they cover.",
        lambda frame: frame["days_covered"] == 1,
    ),
    _rule(
        "running_hours",
        "running_hours_missing",
        Severity.WARNING,
        "Only the counter came; running hours are its difference to the reading before, or empty without one.",
        lambda frame: frame["is_running_hours_given"] | frame["cumulative_hours"].isna(),
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
        "No master record for this equipment: the reading waits and is applied once the equipment arrives.",
        lambda frame: frame["equipment_id"].notna() | frame["equipment_number"].isna(),
    ),
)

CONTRACTS: Mapping[str, Sequence[CheckedRule]] = {
    "plants": PLANT_RULES,
    "equipment": EQUIPMENT_RULES,
    "running_times": RUNNING_TIME_RULES,
}


@cache
def schema_of(table: str) -> pa.DataFrameSchema:
    """Return the pandera schema of a contract; every check is over the frame and named by its rule."""
    checks = [
        pa.Check(checked.holds, name=checked.rule.id, error=checked.rule.id, ignore_na=False, n_failure_cases=None)
        for checked in CONTRACTS[table]
    ]
    return pa.DataFrameSchema(checks=checks, name=table)


def failures_of(table: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Check `frame` against the contract of `table`, all rules over all rows.

    Returns:
        One row per record and failed rule: row (position of the record), rule, severity, column, message; a record's rows
        stand in the order of the contract, so that the first one is what an operator should look at first.
    """
    if frame.empty:
        return no_failures()
    try:
        schema_of(table).validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
    else:
        return no_failures()
    order = {checked.rule.id: position for position, checked in enumerate(CONTRACTS[table])}
    broken = cases.loc[cases["index"].isna() | ~cases["check"].isin(list(order))]
    if not broken.empty:  # a check that itself failed: our mistake, and not to be taken for a fault of the records
        raise RuntimeError(f"The contract of {table} could not be checked: {broken[['check', 'failure_case']].iloc[0].to_list()}")
    rows = cases.loc[:, ["index", "check"]].drop_duplicates()
    rules = [CONTRACTS[table][order[check]].rule for check in rows["check"]]
    failures = pd.DataFrame(
        {
            "row": rows["index"].astype("int64").to_numpy(),
            "rule": [rule.id for rule in rules],
            "severity": [rule.severity.value for rule in rules],
            "column": [rule.column for rule in rules],
            "message": [rule.message for rule in rules],
            "order": [order[rule.id] for rule in rules],
        }
    )
    return failures.sort_values(["row", "order"], kind="stable").drop(columns="order").reset_index(drop=True)
