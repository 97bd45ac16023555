"""What is wrong with a record, as values: rules, severities and the failures of a frame.

What belongs here: the vocabulary of refusal. What does not: the rules of one table (`domain.contracts`).
"""

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

FAILURE_COLUMNS = ("row", "rule", "severity", "column", "message")


class Severity(StrEnum):
    """What a failed rule means: stop the slice, refuse the record, store it and count, or only count."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def refuses(self) -> bool:
        """Whether a record that fails such a rule is kept out of the tables."""
        return self in {Severity.CRITICAL, Severity.ERROR}


@dataclass(frozen=True)
class Rule:
    """One rule of a contract: its id (stable, shown to operators), what a failure means and what to do about it."""

    id: str
    column: str
    severity: Severity
    message: str


_NO_FAILURES = pd.DataFrame({name: pd.Series(dtype="int64" if name == "row" else "str") for name in FAILURE_COLUMNS})


def no_failures() -> pd.DataFrame:
    """Return an empty frame of failures: row (int, position of the record), rule, severity, column, message (str)."""
    return _NO_FAILURES.copy()


def refused_rows(failures: pd.DataFrame) -> "pd.Index[int]":
    """Return the positions of the records that at least one failure refuses."""
    if failures.empty:
        return pd.Index([], dtype="int64")
    refusing = failures["severity"].isin([severity.value for severity in Severity if severity.refuses])
    rows: pd.Index[int] = pd.Index(failures.loc[refusing, "row"].unique(), dtype="int64")
    return rows


def warnings_by_row(failures: pd.DataFrame) -> pd.Series:
    """Return the ids of the warnings of each record, as sorted lists, by position; records without any are absent."""
    warned = failures.loc[failures["severity"] == Severity.WARNING.value]
    is_several = warned["row"].duplicated(keep=False)
    alone = warned.loc[~is_several]
    single = pd.Series([[rule] for rule in alone["rule"]], index=alone["row"], dtype=object)
    several = warned.loc[is_several].groupby("row")["rule"].agg(lambda rules: sorted(set(rules)))
    return pd.concat([single, several.astype(object)]) if len(several) else single
