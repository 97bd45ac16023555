"""Values as SAP sends them, read into Python values: numbers, dates, times, flags and keys.

What belongs here: one reader per kind of value and its form for a whole column.
What does not: which field holds what (`domain.records`).
A reader returns None for "no value" and raises ValueError for text that it cannot read; the column forms return a mask of
the unreadable cells instead, so that one bad cell never stops a page. A column form takes any cells that JSON can hold and
returns series with index 0..n-1. Sources: the quirks named in each docstring.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from string import whitespace
from typing import TypeAlias, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cmms_pipelines.domain import regular_cells
from cmms_pipelines.domain.keys import without_alpha_zeros

T = TypeVar("T")
Zones: TypeAlias = Sequence[str] | npt.NDArray[np.object_]

_TRAILING_SIGN = re.compile(r"^([\d.,]+(?:[eE][+-]?\d+)?)-$")
_DECIMAL_COMMA = re.compile(r"^[+-]?\d{1,3}(?:\.\d{3})*(?:,\d+)?$|^[+-]?\d+,\d+$")
_TICKS = re.compile(r"^/Date\((-?\d+)(?:[+-]\d{4})?\)/$")
_DURATION = re.compile(r"^PT(\d+)H(\d+)M(\d+)S$")
_OPEN_END = date(9999, 12, 31)
_EMPTY = frozenset({"", "00000000", "0000-00-00"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_COUNT = 15  # digits that a float holds for certain


def read_text(value: object) -> str | None:
    """Read padded CHAR text: outer blanks, NULs and filler underscores go, an empty field is None (quirk 2)."""
    if value is None:
        return None
    text = str(value).replace("\0", " ").strip()
    return text.rstrip("_" + whitespace).strip() or None


def read_key(value: object) -> str | None:
    """Read a key under SAP's ALPHA rule: leading zeros go, but only from a key that is all digits (quirk 1)."""
    text = read_text(value)
    return None if text is None else without_alpha_zeros(text)


def read_number(value: object, *, has_decimal_comma: bool = False) -> float | None:
    """Read a number, its sign before or after it, in fixed, floating or (where the source is set so) comma form (quirks 2-4)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _finite(float(value))
    text = read_text(value)
    if text is None:
        return None
    if text[-1] == "-" and (match := _TRAILING_SIGN.match(text)):
        text = f"-{match.group(1)}"
    if has_decimal_comma and _DECIMAL_COMMA.match(text):
        text = text.replace(".", "").replace(",", ".")
    if "_" in text:
        raise ValueError(f"{text!r} is no number")
    return _finite(float(text))


def read_date(value: object) -> date | None:
    """Read a date: `20130420`, `2013-04-20`, `/Date(ms)/`; initial dates are None, open ends 9999-12-31 (quirks 7, 8)."""
    text = read_text(value)
    if text is None or text in _EMPTY:
        return None
    if match := _TICKS.match(text):
        return _from_ticks(int(match.group(1))).date()
    if len(text) == 8 and text.isdigit():
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    return date.fromisoformat(text[:10]) if len(text) == 10 or text[10:11] in {"T", " "} else date.fromisoformat(text)


def read_inverted(value: object) -> int | None:
    """Read a stamp kept as nine's complement of its digits: GDATU is then YYYYMMDD, INVTS seconds (quirk 10)."""
    text = read_text(value)
    if text is None:
        return None
    return int("9" * len(text)) - int(text)


def read_time(value: object) -> timedelta | None:
    """Read a time of day as what it adds to midnight: `PT15H51M04S`, `235900`, `15:51:04`, `240000` (quirk 9)."""
    text = read_text(value)
    if text is None:
        return None
    if match := _DURATION.match(text):
        hours, minutes, seconds = (int(part) for part in match.groups())
        return timedelta(hours=hours, minutes=minutes, seconds=seconds)
    if text in {"240000", "24:00:00"}:
        return timedelta(days=1)
    if len(text) == 6 and text.isdigit():
        text = f"{text[:2]}:{text[2:4]}:{text[4:]}"
    parsed = time.fromisoformat(text)
    return timedelta(hours=parsed.hour, minutes=parsed.minute, seconds=parsed.second)


def read_instant(value: object, zone: str) -> datetime | None:
    """Read an instant in UTC; one without a zone is local to the plant, whose zone is `zone` (quirks 7, 8).

    An hour that the plant's clock shows twice is taken for its first passing, one that it skips is shifted forward.
    """
    text = read_text(value)
    if text is None or text in _EMPTY:
        return None
    if match := _TICKS.match(text):
        return _from_ticks(int(match.group(1)))
    stamp = datetime.fromisoformat(text)
    return (stamp if stamp.tzinfo else stamp.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def read_flag(value: object) -> bool:
    """Read a flag: `X`, `true`, `1` are set; empty, blank, None and `false` are not (quirk 35)."""
    if isinstance(value, bool):
        return value
    text = (read_text(value) or "").lower()
    if text in {"x", "true", "1"}:
        return True
    if text in {"", "false", "0"}:
        return False
    raise ValueError(f"{value!r} is no flag")


def text_column(values: Iterable[object]) -> pd.Series:
    """Return `read_text` of a whole column, as Arrow-backed strings."""
    cells = _as_list(values)
    texts = regular_cells.texts_of(cells)
    if texts is None:
        return pd.Series(_read_all(cells, read_text)[0], dtype="str")
    return regular_cells.as_series(_with_irregular(texts.array, texts.is_unpadded, cells, read_text))


def key_column(values: Iterable[object]) -> pd.Series:
    """Return `read_key` of a whole column, as Arrow-backed strings."""
    cells = _as_list(values)
    texts = regular_cells.texts_of(cells)
    if texts is None:
        return pd.Series(_read_all(cells, read_key)[0], dtype="str")
    keys = regular_cells.without_zeros(texts)
    return regular_cells.as_series(_with_irregular(keys, texts.is_unpadded, cells, read_key))


def number_column(values: Iterable[object], *, has_decimal_comma: bool = False) -> tuple[pd.Series, pd.Series]:
    """Return `read_number` of a whole column as float64, and the mask of cells that it cannot read."""
    cells = _as_list(values)
    reader = partial(read_number, has_decimal_comma=has_decimal_comma)
    texts = regular_cells.texts_of(cells)
    if texts is None:
        plain = regular_cells.numbers_of(cells)
        if plain is not None:
            return pd.Series(plain), pd.Series(np.zeros(len(cells), dtype="bool"))
        numbers, unreadable = _read_all(cells, reader)
        return pd.Series(numbers, dtype="float64"), pd.Series(unreadable, dtype="bool")
    is_regular = texts.is_of_digits & (texts.lengths <= _LONGEST_COUNT) if has_decimal_comma else texts.is_number
    is_certain = is_regular | texts.is_null
    read = regular_cells.parse_numbers(texts, is_regular)
    is_unreadable = np.zeros(len(cells), dtype="bool")
    if not is_certain.all():
        rows = np.flatnonzero(~is_certain)
        numbers, unreadable = _read_all((cells[row] for row in rows.tolist()), reader)
        read = read.copy()
        read[rows] = [math.nan if number is None else number for number in numbers]
        is_unreadable[rows] = unreadable
    return pd.Series(read), pd.Series(is_unreadable)


def date_column(values: Iterable[object]) -> tuple[pd.Series, pd.Series]:
    """Return `read_date` of a whole column as datetime64[s] at midnight, and the mask of cells that it cannot read."""
    dates, unreadable = _read_distinct(_as_list(values), read_date, "datetime64[D]")
    return pd.Series(dates.astype("datetime64[s]")), pd.Series(unreadable)


def instant_column(values: Sequence[object], zones: Zones) -> tuple[pd.Series, pd.Series]:
    """Return `read_instant` of a whole column (datetime64[us, UTC]), and the mask of cells that it cannot read.

    Args:
        values: the cells.
        zones: the IANA name of each cell's zone.
    """
    cells = _as_list(values)
    texts = regular_cells.texts_of(cells)
    regular = None if texts is None else regular_cells.instants_of(texts, zones)
    if regular is not None:
        return pd.Series(regular).dt.tz_localize("UTC"), pd.Series(np.zeros(len(cells), dtype="bool"))
    instants = np.full(len(cells), "NaT", dtype="datetime64[us]")
    unreadable = np.zeros(len(cells), dtype="bool")
    codes, names = pd.factorize(np.asarray(zones, dtype=object))
    for code, zone in enumerate(names):
        rows = np.flatnonzero(codes == code)
        reader = partial(_read_utc_without_zone, zone=str(zone))
        instants[rows], unreadable[rows] = _read_distinct([cells[row] for row in rows.tolist()], reader, "datetime64[us]")
    return pd.Series(instants).dt.tz_localize("UTC"), pd.Series(unreadable)


def flag_column(values: Iterable[object]) -> tuple[pd.Series, pd.Series]:
    """Return `read_flag` of a whole column, False where it cannot be read, and the mask of such cells."""
    flags, unreadable = _read_all(values, read_flag)
    return pd.Series([bool(flag) for flag in flags], dtype="bool"), pd.Series(unreadable, dtype="bool")


def _read_all(values: Iterable[object], reader: Callable[[object], T | None]) -> tuple[list[T | None], list[bool]]:
    """Read cell by cell, equal texts once; return what was read and the mask of cells that cannot be."""
    known: dict[str, tuple[T | None, bool]] = {}
    read: list[T | None] = []
    unreadable: list[bool] = []
    for value in values:
        outcome = known.get(value) if isinstance(value, str) else None
        if outcome is None:
            try:
                outcome = (reader(value), False)
            except (ValueError, OverflowError):
                outcome = (None, True)
            if isinstance(value, str):
                known[value] = outcome
        read.append(outcome[0])
        unreadable.append(outcome[1])
    return read, unreadable


def _read_distinct(
    cells: Sequence[object], reader: Callable[[object], date | datetime | None], unit: str
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.bool_]]:
    """Read the distinct texts of a column once each; return its values and the mask of cells that cannot be read."""
    texts = regular_cells.texts_of(cells)
    if texts is None or not cells:
        read, unreadable = _read_all(cells, reader)
        return np.array(read, dtype=unit), np.array(unreadable, dtype="bool")
    encoded = texts.array.dictionary_encode()
    read, unreadable = _read_all([*encoded.dictionary.to_pylist(), None], reader)
    rows = encoded.indices.fill_null(len(read) - 1).to_numpy()
    return np.array(read, dtype=unit)[rows], np.array(unreadable, dtype="bool")[rows]


def _with_irregular(
    array: pa.LargeStringArray, is_regular: npt.NDArray[np.bool_], cells: Sequence[object], reader: Callable[[object], str | None]
) -> pa.LargeStringArray:
    """Put what `reader` makes of the irregular cells in their places."""
    if is_regular.all():
        return array
    rows = np.flatnonzero(~is_regular)
    read, _ = _read_all((cells[row] for row in rows.tolist()), reader)
    return pc.replace_with_mask(array, pa.array(~is_regular), pa.array(read, pa.large_string()))


def _as_list(values: Iterable[object]) -> list[object]:
    return values if isinstance(values, list) else list(values)


def _read_utc_without_zone(value: object, zone: str) -> datetime | None:
    instant = read_instant(value, zone)
    return instant and instant.replace(tzinfo=None)  # numpy knows no zones


def _from_ticks(milliseconds: int) -> datetime:
    instant = _EPOCH + timedelta(milliseconds=milliseconds)
    return datetime.combine(_OPEN_END, time(), UTC) if instant.date() == _OPEN_END else instant


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number
