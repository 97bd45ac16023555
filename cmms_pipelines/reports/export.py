"""A mart as a file: CSV, XLSX or Parquet, whole or not at all.

What belongs here: from the mart's name to the finished file. What does not: SQL (`storage.marts`) and formats (`mart_files`,
`xlsx_file`).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.reports.mart_files import RowWriter, csv_file, parquet_file
from cmms_pipelines.reports.xlsx_file import xlsx_file
from cmms_pipelines.storage.marts import Column, RowFilter, known_mart, stream_rows

Progress = Callable[[int], None]


class FileFormat(StrEnum):
    """How a mart is written."""

    CSV = "csv"
    XLSX = "xlsx"
    PARQUET = "parquet"


def file_format(name: str) -> FileFormat:
    """Return a format by its name.

    Raises:
        PermanentError: there is none of this name.
    """
    try:
        return FileFormat(name.lower())
    except ValueError as error:
        raise PermanentError(f"{name!r} is no format of a file: it is one of {', '.join(FileFormat)}.") from error


_OPENERS: Mapping[FileFormat, Callable[[Path, str, Sequence[Column]], AbstractContextManager[RowWriter]]] = {
    FileFormat.CSV: csv_file,
    FileFormat.XLSX: xlsx_file,
    FileFormat.PARQUET: parquet_file,
}


def export_mart(
    engine: sa.Engine,
    mart: str,
    file_format: FileFormat,
    output: Path,
    chosen: RowFilter | None = None,
    *,
    progress: Progress = lambda _rows: None,
) -> int:
    """Write a mart to `output`, whose place is taken only once the file is whole; return how many rows it has.

    Raises:
        PermanentError: there is no such mart, it has no column for the filter, or the folder cannot be written to.
    """
    unfinished = output.with_name(f".{output.name}.{os.getpid()}.part")
    rows = 0
    try:
        with engine.connect() as connection:
            columns = known_mart(connection, mart)
            output.parent.mkdir(parents=True, exist_ok=True)
            unfinished.touch()  # here and not inside a library, whose errors would be others
            with _OPENERS[file_format](unfinished, mart, columns) as file:
                for batch in stream_rows(connection, mart, columns, chosen or RowFilter()):
                    file.write(batch)
                    rows += len(batch)
                    progress(rows)
        unfinished.replace(output)
    except OSError as error:
        raise PermanentError(f"{output} cannot be written: {error.strerror or error}.") from error
    finally:
        if unfinished.exists():
            unfinished.unlink()
    return rows
