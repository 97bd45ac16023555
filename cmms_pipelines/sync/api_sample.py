"""A sample of the external system's records, mapped and validated without a database: do we understand what it sends.

What belongs here: the rules that a sample breaks, with an example of each. What does not: where the sample comes from and how
grave that is (`sync.api_check`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pandas as pd

from cmms_pipelines.domain import equipment, judged_work_orders, running_times
from cmms_pipelines.domain.classification import GroupRule
from cmms_pipelines.domain.dialects import Dialect
from cmms_pipelines.domain.quarantine import REFUSING

_NEEDS_OTHERS = frozenset({"equipment_unknown"})  # rules that a sample cannot keep or break by itself


@dataclass(frozen=True)
class Problem:
    """A rule that refuses part of a sample, with an example as it came."""

    what: str
    rule: str
    share: float
    example: str

    def __str__(self) -> str:
        return f"{self.share:.0%} of {self.what} fail {self.rule} (as {self.example})"


def problems_of(
    dialect: Dialect,
    plants: pd.DataFrame,
    machines: Sequence[Mapping[str, Any]],
    readings: Sequence[Mapping[str, Any]],
    orders: Sequence[Mapping[str, Any]],
    *,
    days: Sequence[date],
    rules: Sequence[GroupRule],
) -> list[Problem]:
    """Map and judge a sample; return the rules that refuse some of it, the most frequent ones first.

    Args:
        dialect: of the records.
        plants: plant_code, plant_id, time_zone.
        machines: raw records of equipment.
        readings: raw records of running hours.
        orders: raw records of work orders.
        days: that the source was asked for readings of.
        rules: of the equipment groups.
    """
    zones = dict(zip(plants["plant_code"], plants["time_zone"], strict=True))
    masters = dialect.equipment_frame(machines, zones)
    of_masters = equipment.judge(masters, plants, rules).failures
    hours = dialect.running_times_frame(readings, zones)
    of_hours = running_times.judge(running_times.with_context(hours, plants, _no_neighbours(), days)).failures
    work = dialect.work_orders_frame(orders, zones)
    plant_ids = dict(zip(plants["plant_code"], plants["plant_id"], strict=True))
    of_work = judged_work_orders.judge(work, plant_ids, {}).failures
    return [
        *_problems("equipment", machines, of_masters, masters, dialect.equipment_mapping),
        *_problems("running hours", readings, of_hours, hours, dialect.running_time_mapping),
        *_problems("work orders", orders, of_work, work, dialect.work_order_mapping),
    ]


def _problems(
    what: str,
    records: Sequence[Mapping[str, Any]],
    failures: pd.DataFrame,
    frame: pd.DataFrame,
    mapping: Mapping[str, tuple[str, ...]],
) -> list[Problem]:
    refusing = failures.loc[failures["severity"].isin(REFUSING) & ~failures["rule"].isin(_NEEDS_OTHERS)]
    counted = Counter(refusing["rule"].to_list())
    first = refusing.drop_duplicates("rule").set_index("rule")
    found = []
    for rule, count in counted.most_common():
        row, column = int(first.loc[rule, "row"]), str(first.loc[rule, "column"])
        names = mapping.get(column, (column,))
        name = next((name for name in names if name in records[row]), names[0])
        found.append(Problem(what, rule, count / len(frame), f"{name}={str(records[row].get(name))[:60]!r}"))
    return found


def advice_for(problems: Sequence[Problem]) -> str | None:
    """What an operator can do about these problems, where they point to one cause."""
    if any(problem.rule == "plant_unknown" for problem in problems):
        return (
            "Records name plants that the list of plants lacks: complete it (CMMS_PLANTS_FILE), or CMMS_ON_UNKNOWN_PLANT=create."
        )
    unreadable = {problem.rule for problem in problems if problem.rule.endswith("_invalid")}
    if unreadable == {"status_invalid"}:
        return (
            "Work orders stand at statuses that nobody knows here: docs/source_data.md says which are read, and from what field."
        )
    if unreadable:
        return "Values cannot be read: check CMMS_API_DIALECT, and CMMS_API_DECIMAL_COMMA where numbers have a comma."
    return None


def _no_neighbours() -> pd.DataFrame:
    columns = {
        "equipment_number": "str", "date": "datetime64[s]", "equipment_id": "Int64", "previous_date": "datetime64[s]",
        "previous_cumulative_hours": "float64", "other_plants_hours": "float64", "other_plants_days_covered": "float64",
    }  # fmt: skip
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
