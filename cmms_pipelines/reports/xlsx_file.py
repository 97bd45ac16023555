"""Excel workbooks, written row by row.

A sheet knows no time zone: instants are in UTC and their header says so. Text is stored as text and marked as such, so that
none of it is computed, not even after somebody has edited the cell. What Excel's numbers cannot hold (more than 15 digits)
is text as well.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

from cmms_pipelines.reports.cells import as_plain, is_formula_like
from cmms_pipelines.reports.mart_files import RowWriter
from cmms_pipelines.storage.marts import Column

ROWS_OF_A_SHEET = 1_048_576
LONGEST_TEXT = 32_767
DIGITS = 15
_LONGEST_NAME = 28
_FIRST_YEAR = 1900
_WITH_ZONE = "timestamp with time zone"


@contextmanager
def xlsx_file(path: Path, mart: str, columns: Sequence[Column]) -> Iterator[RowWriter]:
    """Open a workbook with a sheet of the mart's name, and further ones when a sheet is full; one row is in memory at a time."""
    import xlsxwriter  # noqa: PLC0415 - only where a workbook is written

    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}
    with xlsxwriter.Workbook(
        str(path), {**options, "default_date_format": "yyyy-mm-dd hh:mm:ss", "remove_timezone": True}
    ) as book:
        yield _Book(book, mart, columns)


class _Book:
    def __init__(self, book: Any, mart: str, columns: Sequence[Column], rows_of_a_sheet: int = ROWS_OF_A_SHEET) -> None:  # noqa: ANN401 - no types there
        self._book, self._mart, self._columns, self._limit = book, mart[:_LONGEST_NAME], columns, rows_of_a_sheet
        self._head = book.add_format({"bold": True, "bottom": 1})
        self._day = book.add_format({"num_format": "yyyy-mm-dd"})
        self._instant = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss.000"})
        self._text = book.add_format({"quote_prefix": True})
        self._sheets = 0
        self._add_sheet()

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            if self._row == self._limit:
                self._add_sheet()
            for place, value in enumerate(row):
                self._write(place, as_plain(value))
            self._row += 1

    def _add_sheet(self) -> None:
        self._sheets += 1
        self._sheet = self._book.add_worksheet(self._mart if self._sheets == 1 else f"{self._mart}_{self._sheets}")
        self._sheet.freeze_panes(1, 0)
        for place, column in enumerate(self._columns):
            name = f"{column.name} (UTC)" if column.type == _WITH_ZONE else column.name
            self._sheet.set_column(place, place, min(40, max(11, len(name) + 2)))
            self._sheet.write_string(0, place, name, self._head)
        self._row = 1

    def _write(self, place: int, value: object) -> None:
        row, sheet = self._row, self._sheet
        if value is None:
            return
        if isinstance(value, bool):
            sheet.write_boolean(row, place, value)
        elif isinstance(value, int | float | Decimal) and _fits(value):
            sheet.write_number(row, place, float(value))
        elif isinstance(value, dt.datetime) and value.year >= _FIRST_YEAR:
            naive = value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo else value
            sheet.write_datetime(row, place, naive, self._instant)
        elif isinstance(value, dt.date) and value.year >= _FIRST_YEAR:
            sheet.write_datetime(row, place, value, self._day)
        else:
            text = str(value)[:LONGEST_TEXT]
            sheet.write_string(row, place, text, self._text if is_formula_like(text) else None)


def _fits(value: int | float | Decimal) -> bool:
    """Tell whether Excel shows this very number: it has binary fractions of 15 digits, and nothing for infinity."""
    number = Decimal(value) if isinstance(value, int) else value
    if isinstance(number, float):
        return number - number == 0
    return number.is_finite() and len(number.normalize().as_tuple().digits) <= DIGITS
