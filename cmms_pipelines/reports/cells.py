"""What a value of the database is in a file: plain text, and text that no spreadsheet takes for a formula.

What belongs here: single values. What does not: files (`csv_file`, `xlsx_file`, `parquet_file`).
"""

import datetime as dt
from decimal import Decimal
from typing import Any

import orjson

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What makes a spreadsheet compute a cell instead of showing it (OWASP, CSV Injection), in both widths."""
NEUTRAL = "'"


def is_formula_like(text: str) -> bool:
    """Tell whether a spreadsheet would take this text for a formula."""
    return text.startswith(FORMULA_STARTS)


def as_plain(value: object) -> object:
    """Return a value with everything that is neither a number, a truth value, a time nor nothing as text; JSON stays JSON."""
    if value is None or isinstance(value, bool | int | float | Decimal | dt.datetime | dt.date | str):
        return value
    if isinstance(value, dict | list | tuple):
        return orjson.dumps(value, default=str, option=orjson.OPT_SORT_KEYS).decode()
    return str(value)


def as_csv(value: object) -> Any:  # noqa: ANN401 - whatever csv.writer takes
    """Return a value as CSV shows it: ISO 8601 with offset, `true` and `false`; an apostrophe before what could be a formula."""
    plain = as_plain(value)
    if isinstance(plain, bool):
        return "true" if plain else "false"
    if isinstance(plain, dt.datetime | dt.date):
        return plain.isoformat()
    if isinstance(plain, Decimal):
        return f"{plain:f}"
    if isinstance(plain, str) and is_formula_like(plain):
        return f"{NEUTRAL}{plain}"
    return plain
