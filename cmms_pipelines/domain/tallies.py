"""What only shows over all records of a plant: that none of them can be read.

What belongs here: counting chunk by chunk, and what follows once a slice is complete. What does not: the rules that single
records are held against (`domain.contracts`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from cmms_pipelines.domain.rejections import Rule, Severity

FEWEST_FOR_CRITICAL = 20  # fewer unreadable records of a plant are single bad records

# the format of the source or the mapping has changed
SLICE_RULES: Mapping[str, Rule] = {
    table: Rule(
        "plant_unreadable",
        "plant_code",
        Severity.CRITICAL,
        f"None of the plant's records (at least {FEWEST_FOR_CRITICAL}) can be read: the source's format or the mapping has "
        "changed. All of them are in the quarantine as critical, other plants are written, and the sync fails; compare one with "
        "the field mapping (docs/source_data.md), then run the sync again.",
    )
    for table in ("equipment", "running_times", "work_orders")
}
_UNREADABLE: Mapping[str, frozenset[str]] = {
    "equipment": frozenset({"equipment_number_missing", "api_created_at_invalid", "api_created_at_missing"}),
    "running_times": frozenset(
        {
            "equipment_number_missing", "date_missing", "date_invalid", "date_time_invalid", "running_hours_invalid",
            "cumulative_hours_invalid", "reading_missing", "api_created_at_invalid", "api_created_at_missing",
        }
    ),
    "work_orders": frozenset(
        {"work_order_number_missing", "status_invalid", "status_missing", "updated_at_invalid", "updated_at_missing"}
    ),
}  # fmt: skip


@dataclass
class Tally:
    """How many records each plant has in a slice, how many of them cannot be read, and by which rule first."""

    records: Counter[str] = field(default_factory=Counter)
    unreadable: Counter[str] = field(default_factory=Counter)
    by_rule: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Add another chunk's figures to these."""
        self.records.update(other.records)
        self.unreadable.update(other.unreadable)
        self.by_rule.update(other.by_rule)


@dataclass(frozen=True)
class CriticalFailure:
    """A plant of which nothing can be read: the sync fails."""

    rule: Rule
    plant_code: str
    records: int
    broken_rule: str

    def __str__(self) -> str:
        """Return what an operator has to know, in one line."""
        return f"{self.rule.id}: plant {self.plant_code}, {self.records} records, first {self.broken_rule}. {self.rule.message}"


def tally_of(table: str, frame: pd.DataFrame, failures: pd.DataFrame) -> Tally:
    """Return what `critical_failures` needs to know of one chunk."""
    counts = frame["plant_code"].value_counts()
    tally = Tally(records=Counter({str(code): int(count) for code, count in counts.items()}))
    if failures.empty:
        return tally
    broken = failures.loc[failures["rule"].isin(_UNREADABLE[table])].drop_duplicates("row")
    plants = frame["plant_code"].reindex(broken["row"])
    for plant_code, rule in zip(plants, broken["rule"], strict=True):
        if isinstance(plant_code, str):
            tally.unreadable[plant_code] += 1
            tally.by_rule[plant_code, rule] += 1
    return tally


def critical_failures(table: str, tally: Tally) -> list[CriticalFailure]:
    """Return the plants of a complete slice of which nothing can be read, so that each of their records is refused."""
    found = []
    for plant_code, count in sorted(tally.unreadable.items()):
        if count >= FEWEST_FOR_CRITICAL and count == tally.records[plant_code]:
            rules = {rule: times for (code, rule), times in tally.by_rule.items() if code == plant_code}
            first = min(rules, key=lambda rule: (-rules[rule], rule))
            found.append(CriticalFailure(SLICE_RULES[table], plant_code, count, first))
    return found
