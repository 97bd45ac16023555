"""A mart as a file is what the database has, in every format, and nothing in it does harm."""

import csv
import datetime as dt
import re
import zipfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import xlsxwriter
from python_calamine import CalamineWorkbook

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.reports.export import FileFormat, export_mart
from cmms_pipelines.reports.xlsx_file import _Book
from cmms_pipelines.storage.marts import Column, RowFilter, mart_names
from tests.command_line import CommandLine, on_databases
from tests.conftest import Database
from tests.reports.conftest import HOSTILE, ROWS


def in_database(marts: Database) -> list[dict[str, Any]]:
    with marts.engine.connect() as connection:
        return [dict(row) for row in connection.execute(sa.text("SELECT * FROM analytics.every_type ORDER BY date")).mappings()]


def test_parquet_keeps_every_type_and_value(marts: Database, tmp_path: Path) -> None:
    output = tmp_path / "every_type.parquet"
    assert export_mart(marts.engine, "every_type", FileFormat.PARQUET, output) == ROWS
    table = pq.read_table(output)
    types = {field.name: str(field.type) for field in table.schema}
    assert (types["hours"], types["date"], types["built_as_of"]) == ("decimal128(18, 4)", "date32[day]", "timestamp[us, tz=UTC]")
    assert (types["large"], types["share"], types["is_even"], types["remark"]) == ("int64", "double", "bool", "string")
    expected = [{**row, "details": f'{{"n":{row["id"]}}}'} for row in in_database(marts)]
    assert table.to_pylist() == expected


def test_csv_is_what_the_database_has_with_formulas_behind_an_apostrophe(marts: Database, tmp_path: Path) -> None:
    output = tmp_path / "every_type.csv"
    assert export_mart(marts.engine, "every_type", FileFormat.CSV, output) == ROWS
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, expected in zip(rows, in_database(marts), strict=True):
        assert int(row["large"]) == expected["large"]
        assert Decimal(row["hours"]) == expected["hours"]
        assert float(row["share"]) == expected["share"]
        assert dt.date.fromisoformat(row["date"]) == expected["date"]
        assert dt.datetime.fromisoformat(row["built_as_of"]) == expected["built_as_of"]
        assert row["is_even"] == str(expected["is_even"]).lower()
        remark = expected["remark"] or ""
        assert row["remark"] in (remark, f"'{remark}")
        assert not re.match(r"[=+\-@\t\r\uff1d]", row["remark"])
    assert {row["remark"] for row in rows} >= {f"'{text}" for text in HOSTILE[:6]} | {"plain"}


def test_xlsx_has_numbers_days_and_instants_in_utc_and_no_formula(marts: Database, tmp_path: Path) -> None:
    output = tmp_path / "every_type.xlsx"
    assert export_mart(marts.engine, "every_type", FileFormat.XLSX, output) == ROWS
    header, *rows = CalamineWorkbook.from_path(output).get_sheet_by_name("every_type").to_python()
    assert header[-1] == "built_as_of (UTC)"
    for values, expected in zip(rows, in_database(marts), strict=True):
        row = dict(zip(map(str, header), values, strict=True))
        assert row["hours"] == pytest.approx(float(expected["hours"]), abs=1e-9)
        assert isinstance(row["hours"], float)
        large = expected["large"]
        assert row["large"] == (str(large) if large % 10 else large), "Excel rounds what has more than 15 digits"
        assert row["many_digits"] == "12345678901234.5678"
        assert row["date"] == expected["date"]
        assert row["built_as_of (UTC)"] == expected["built_as_of"].astimezone(dt.UTC).replace(tzinfo=None)
        assert row["is_even"] is expected["is_even"]
        assert row["remark"] == (expected["remark"] or "")
    with zipfile.ZipFile(output) as book:
        sheet, styles = book.read("xl/worksheets/sheet1.xml"), book.read("xl/styles.xml")
    assert b"<f>" not in sheet
    assert b'quotePrefix="1"' in styles


def test_a_full_sheet_is_continued_on_another(tmp_path: Path) -> None:
    path = tmp_path / "long.xlsx"
    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        _Book(book, "long", [Column("n", "integer")], rows_of_a_sheet=11).write([(number,) for number in range(25)])
    sheets = CalamineWorkbook.from_path(path)
    assert sheets.sheet_names == ["long", "long_2", "long_3"]
    found = [row[0] for name in sheets.sheet_names for row in sheets.get_sheet_by_name(name).to_python()[1:]]
    assert found == list(range(25))


@pytest.mark.parametrize("file_format", list(FileFormat))
def test_a_selection_has_only_its_rows(marts: Database, tmp_path: Path, file_format: FileFormat) -> None:
    chosen = RowFilter(("P1", "P2"), (), dt.date(2026, 3, 10), dt.date(2026, 3, 20))
    expected = [
        row for row in in_database(marts) if row["plant_code"] != "P0" and 10 <= row["date"].day <= 20 and row["date"].month == 3
    ]
    assert export_mart(marts.engine, "every_type", file_format, tmp_path / "some", chosen) == len(expected) > 5


def test_a_file_stands_there_whole_or_as_it_was(marts: Database, tmp_path: Path) -> None:
    output = tmp_path / "every_type.csv"
    output.write_text("of yesterday")

    def stop(_rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_mart(marts.engine, "every_type", FileFormat.CSV, output, progress=stop)
    assert output.read_text() == "of yesterday"
    assert list(tmp_path.iterdir()) == [output]


def test_rows_come_through_a_cursor_of_the_server(marts: Database, tmp_path: Path) -> None:
    statements: list[bool] = []

    def note(_conn: object, cursor: Any, *_: object) -> None:  # noqa: ANN401 - psycopg's cursor
        statements.append(type(cursor).__name__ == "ServerCursor")

    sa.event.listen(marts.engine, "before_cursor_execute", note)
    try:
        export_mart(marts.engine, "every_type", FileFormat.CSV, tmp_path / "streamed.csv")
    finally:
        sa.event.remove(marts.engine, "before_cursor_execute", note)
    assert statements[-1], "the last statement reads the mart"


def test_what_cannot_be_exported_is_refused_in_one_sentence(marts: Database, tmp_path: Path) -> None:
    with marts.engine.connect() as connection:
        assert mart_names(connection) == ["every_type"], "staging views are no marts"
    with pytest.raises(PermanentError, match="There is no mart nothing; there are every_type"):
        export_mart(marts.engine, "nothing", FileFormat.CSV, tmp_path / "x.csv")
    with pytest.raises(PermanentError, match="There is no mart"):
        export_mart(marts.engine, 'every_type"; DROP TABLE cmms.plants; --', FileFormat.CSV, tmp_path / "x.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot be written"):
        export_mart(marts.engine, "every_type", FileFormat.XLSX, tmp_path / "file" / "x.xlsx")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def cmms(marts: Database, server_url: str, tmp_path: Path) -> CommandLine:
    return on_databases(marts, server_url, tmp_path / "home")


def test_the_command_says_what_it_wrote(cmms: CommandLine, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    said = cmms.json("export", "every_type", "--format", "parquet", "--output", str(output), "--plant", "P1")
    assert said == {"mart": "every_type", "format": "parquet", "rows": pq.read_table(output).num_rows, "path": str(output)}
    assert cmms.json("export", "every_type", "--output", str(tmp_path / "a.xlsx"))["format"] == "xlsx"


def test_the_command_names_the_marts_and_the_formats(cmms: CommandLine, tmp_path: Path) -> None:
    refused = cmms("export", "nothing", "--format", "csv", "--output", str(tmp_path / "x.csv"))
    assert refused.returncode == 1
    assert refused.stderr.splitlines() == ["cmms: There is no mart nothing; there are every_type."]
    assert "csv, xlsx, parquet" in cmms("export", "every_type", "--output", str(tmp_path / "x.doc")).stderr
    lacking = cmms("export", "every_type", "--format", "csv", "--output", str(tmp_path / "x.csv"), "--from", "2026-13-01")
    assert lacking.returncode == 2
