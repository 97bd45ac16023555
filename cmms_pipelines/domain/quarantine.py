"""From failures to quarantine rows: which record it was, as it came, and what to look for.

What belongs here: record keys and the shape of what is kept. What does not: storing it (`storage.rejections`).
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cmms_pipelines.domain.raw_records import RawRecord, RawRecords
from cmms_pipelines.domain.records import raw_value
from cmms_pipelines.domain.regular_cells import as_array, as_series
from cmms_pipelines.domain.rejections import Severity, refused_rows

_KEY_LENGTH = 280  # of the 300 characters that the quarantine has, some are for what tells repeats apart
_PREFIX_LENGTH = 200  # of a longer key, before its hash
_LONGEST_VALUE = 1000
_REJECTED = (
    "record_key", "rule", "severity", "column_name", "value", "message", "other_failures", "payload", "plant_code",
    "equipment_number", "date",
)  # fmt: skip
REFUSING = [severity.value for severity in Severity if severity.refuses]


def record_keys(
    records: Sequence[RawRecord], frame: pd.DataFrame, columns: Sequence[str], mapping: Mapping[str, tuple[str, ...]]
) -> pd.Series:
    """Return a key for each record: its business key as far as it can be read.

    The same record that comes again another night has the same key. Records that share a business key are told apart by
    `#2`, `#3` in the order of their `date_time` and their content, so that none hides another and the order of their arrival
    does not matter; all of them have to be in `frame`. A record without any key has its content's hash.
    """
    is_missing = frame[list(columns)].isna()
    incomplete = _picked(records, np.flatnonzero(is_missing.any(axis=1).to_numpy()).tolist())
    parts = [_part_of_key(frame[column], is_missing[column], incomplete, column, mapping) for column in columns]
    keys = as_series(pc.binary_join_element_wise(*parts, pa.scalar("|", pa.large_string()))).set_axis(frame.index)
    blank = [row for row in incomplete if not keys.iloc[row].strip("|")]
    too_long = np.flatnonzero((keys.str.len() > _KEY_LENGTH).to_numpy()).tolist()
    if blank or too_long:
        changed = {row: f"{keys.iloc[row][:_PREFIX_LENGTH]}~{_hash(keys.iloc[row].encode())}" for row in too_long}
        changed |= {row: _content_hash(incomplete[row]) for row in blank}
        keys.iloc[list(changed)] = list(changed.values())
    shared = np.flatnonzero(keys.duplicated(keep=False).to_numpy())
    if len(shared):
        keys.iloc[shared] = _told_apart(keys.iloc[shared], frame.iloc[shared], _picked(records, shared.tolist()))
    return keys


def _part_of_key(
    values: pd.Series,
    is_missing: pd.Series,
    incomplete: Mapping[int, RawRecord],
    column: str,
    mapping: Mapping[str, tuple[str, ...]],
) -> pa.Array:
    """Return a column as text; where it could not be read, as it came."""
    if isinstance(values.dtype, pd.StringDtype):
        text = as_array(values)
    else:  # few distinct days
        codes, distinct = pd.factorize(values)
        texts = pa.array([*distinct.astype("str"), None], pa.large_string())
        text = texts.take(pa.array(np.where(codes < 0, len(distinct), codes)))
    if is_missing.any():
        raw = [str(raw_value(incomplete[row], column, mapping) or "") for row in np.flatnonzero(is_missing.to_numpy()).tolist()]
        text = pc.replace_with_mask(text, pa.array(is_missing.to_numpy()), pa.array(raw, pa.large_string()))
    return text


def _told_apart(keys: pd.Series, frame: pd.DataFrame, records: Mapping[int, RawRecord]) -> pd.Series:
    order = pd.DataFrame(
        {
            "key": keys.to_numpy(),
            "date_time": frame["date_time"].to_numpy() if "date_time" in frame else pd.NaT,
            "content": [_content_hash(record) for record in records.values()],
        }
    ).sort_values(["key", "date_time", "content"], kind="stable", na_position="first")
    repeat = order.groupby("key").cumcount().sort_index().to_numpy()
    return keys.where(repeat == 0, keys + "#" + pd.Series(repeat + 1, index=keys.index).astype("str"))


def rejected_frame(
    records: Sequence[RawRecord],
    frame: pd.DataFrame,
    failures: pd.DataFrame,
    keys: pd.Series,
    mapping: Mapping[str, tuple[str, ...]],
) -> pd.DataFrame:
    """Return one row per refused record, as `storage.rejections.store` takes them: its first failure, and the others beside it.

    Args:
        records: the raw records.
        frame: their canonical frame.
        failures: see `contracts.failures_of`.
        keys: see `record_keys`.
        mapping: from columns to the source's field names, to show the value as it came.
    """
    refusing = failures.loc[failures["severity"].isin(REFUSING)] if len(failures) else failures
    if refusing.empty:
        return pd.DataFrame(columns=list(_REJECTED))
    refused = _picked(records, refusing["row"].to_list())
    told = pd.DataFrame(
        {
            "rule": refusing["rule"],
            "severity": refusing["severity"],
            "column_name": refusing["column"],
            "value": [
                _shown(refused[row], column, mapping) for row, column in zip(refusing["row"], refusing["column"], strict=True)
            ],
            "message": refusing["message"],
        }
    )
    is_first = ~refusing["row"].duplicated()
    first, rows = told.loc[is_first], refusing.loc[is_first, "row"].to_list()
    others: dict[int, list[Mapping[Any, Any]]] = {}
    for row, failure in zip(refusing.loc[~is_first, "row"], told.loc[~is_first].to_dict("records"), strict=True):
        others.setdefault(row, []).append(failure)
    about = frame.loc[rows]
    dates = about["date"] if "date" in about else pd.Series(pd.NaT, index=about.index, dtype="datetime64[s]")
    equipment = about["equipment_number"] if "equipment_number" in about else pd.Series(None, index=about.index, dtype="str")
    return pd.DataFrame(
        {
            "record_key": keys.loc[rows].to_numpy(),
            **{name: first[name].to_numpy() for name in ("rule", "severity", "column_name")},
            "value": pd.Series(first["value"].to_list(), dtype="str"),
            "message": first["message"].to_numpy(),
            "other_failures": pd.Series([others.get(row) for row in rows], dtype=object),
            "payload": pd.Series([dict(refused[row]) for row in rows], dtype=object),
            "plant_code": about["plant_code"].str.slice(0, 100).to_numpy(),
            "equipment_number": equipment.str.slice(0, 100).to_numpy(),
            "date": dates.to_numpy(),
        }
    )


def _shown(record: RawRecord, column: str, mapping: Mapping[str, tuple[str, ...]]) -> str | None:
    value = raw_value(record, column, mapping)
    return None if value is None else str(value)[:_LONGEST_VALUE]


def refused_by_rule(failures: pd.DataFrame) -> dict[str, int]:
    """Return how many records each rule refused, every record counted once, under the first rule that it failed."""
    if failures.empty:
        return {}
    refusing = failures.loc[failures["severity"].isin(REFUSING)]
    first = refusing.loc[~refusing["row"].duplicated(), "rule"]
    return {str(rule): int(count) for rule, count in first.value_counts().items()}


def refused_count(failures: pd.DataFrame) -> int:
    """Return how many records are refused."""
    return len(refused_rows(failures))


def _picked(records: Sequence[RawRecord], rows: Sequence[int]) -> dict[int, RawRecord]:
    """Return some records by their positions, in the order of the positions."""
    return records.pick(rows) if isinstance(records, RawRecords) else {row: records[row] for row in sorted(set(rows))}


def _content_hash(record: RawRecord) -> str:
    return f"sha256:{_hash(orjson.dumps(record, default=str))}"


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()
