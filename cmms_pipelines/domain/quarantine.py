"""From failures to quarantine rows: which record it was, as it came, and what to look for.

What belongs here: record keys and the shape of what is kept. What does not: storing it (`storage.rejections`).
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import orjson
import pandas as pd

from cmms_pipelines.domain.records import RawRecord, raw_value
from cmms_pipelines.domain.rejections import Severity, refused_rows

_KEY_LENGTH = 280  # of the 300 characters that the quarantine has, some are for what tells repeats apart
REFUSING = [severity.value for severity in Severity if severity.refuses]


def record_keys(
    records: Sequence[RawRecord], frame: pd.DataFrame, columns: Sequence[str], mapping: Mapping[str, tuple[str, ...]]
) -> pd.Series:
    """Return a key for each record: its business key as far as it can be read.

    The same record that comes again another night has the same key. Records of one batch that share a business key are
    told apart by `#2`, `#3` in their order, so that none hides another; a record without any key has its content's hash.
    """
    parts = []
    for column in columns:
        values = frame[column].astype("str")
        missing = frame[column].isna()
        if missing.any():
            raw = [str(raw_value(records[row], column, mapping) or "") for row in frame.index[missing]]
            values = values.mask(missing, pd.Series(raw, index=frame.index[missing], dtype="str"))
        parts.append(values.fillna(""))
    keys = parts[0]
    for part in parts[1:]:
        keys = keys + "|" + part
    blank = keys.str.strip("|") == ""
    if blank.any():
        hashes = [f"sha256:{sha256(orjson.dumps(records[row], default=str)).hexdigest()}" for row in keys.index[blank]]
        keys = keys.mask(blank, pd.Series(hashes, index=keys.index[blank], dtype="str"))
    keys = keys.str.slice(0, _KEY_LENGTH)
    repeat = keys.groupby(keys).cumcount()
    return keys.where(repeat == 0, keys + "#" + (repeat + 1).astype("str"))


def rejected_frame(
    records: Sequence[RawRecord],
    frame: pd.DataFrame,
    failures: pd.DataFrame,
    keys: pd.Series,
    mapping: Mapping[str, tuple[str, ...]],
) -> pd.DataFrame:
    """Return one row per refused record and refusing rule, as `storage.rejections.store` takes them.

    Args:
        records: the raw records.
        frame: their canonical frame.
        failures: see `contracts.failures_of`.
        keys: see `record_keys`.
        mapping: from columns to the source's field names, to show the value as it came.
    """
    refusing = failures.loc[failures["severity"].isin(REFUSING)]
    rows = refusing["row"].to_list()
    values = [raw_value(records[row], column, mapping) for row, column in zip(rows, refusing["column"], strict=True)]
    about = frame.loc[rows]
    dates = about["date"] if "date" in about else pd.Series(pd.NaT, index=about.index, dtype="datetime64[s]")
    equipment = about["equipment_number"] if "equipment_number" in about else pd.Series(None, index=about.index, dtype="str")
    return pd.DataFrame(
        {
            "record_key": keys.loc[rows].to_numpy(),
            "rule": refusing["rule"].to_numpy(),
            "is_primary": (~refusing["row"].duplicated()).to_numpy(),
            "severity": refusing["severity"].to_numpy(),
            "column_name": refusing["column"].to_numpy(),
            "value": pd.Series([None if value is None else str(value)[:1000] for value in values], dtype="str"),
            "message": refusing["message"].to_numpy(),
            "payload": pd.Series([dict(records[row]) for row in rows], dtype=object),
            "plant_code": about["plant_code"].str.slice(0, 100).to_numpy(),
            "equipment_number": equipment.str.slice(0, 100).to_numpy(),
            "date": dates.to_numpy(),
        }
    )


def refused_by_rule(failures: pd.DataFrame) -> dict[str, int]:
    """Return how many records each rule refused, every record counted once, under the first rule that it failed."""
    refusing = failures.loc[failures["severity"].isin(REFUSING)]
    first = refusing.loc[~refusing["row"].duplicated(), "rule"]
    return {str(rule): int(count) for rule, count in first.value_counts().items()}


def refused_count(failures: pd.DataFrame) -> int:
    """Return how many records are refused."""
    return len(refused_rows(failures))
