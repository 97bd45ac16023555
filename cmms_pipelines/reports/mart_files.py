"""CSV and Parquet, written batch by batch."""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cmms_pipelines.reports.cells import as_csv, as_plain
from cmms_pipelines.storage.marts import Column

if TYPE_CHECKING:
    import pyarrow as pa

_DECIMAL = re.compile(r"numeric\((\d+),(\d+)\)")


class RowWriter(Protocol):
    """Takes rows, in order."""

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """Append rows."""


@contextmanager
def csv_file(path: Path, _mart: str, columns: Sequence[Column]) -> Iterator[RowWriter]:
    """Open a CSV file: UTF-8, a header, nothing for NULL."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([as_csv(column.name) for column in columns])
        yield _Csv(writer)


@contextmanager
def parquet_file(path: Path, _mart: str, columns: Sequence[Column]) -> Iterator[RowWriter]:
    """Open a Parquet file whose columns have the types of the mart: decimals, dates, instants in UTC; JSON is text."""
    import pyarrow as pa  # noqa: PLC0415 - a tenth of a second that the other formats do not need
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = pa.schema([pa.field(column.name, _arrow_type(column.type)) for column in columns])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        yield _Parquet(writer, schema)


class _Csv:
    def __init__(self, writer: Any) -> None:  # noqa: ANN401 - csv has no public type for it
        self._writer = writer

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        self._writer.writerows([as_csv(value) for value in row] for row in rows)


class _Parquet:
    def __init__(self, writer: Any, schema: "pa.Schema") -> None:  # noqa: ANN401 - pyarrow has no types
        self._writer, self._schema = writer, schema

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        import pyarrow as pa  # noqa: PLC0415

        columns = [
            pa.array([as_plain(value) for value in column], type=field.type)
            for column, field in zip(zip(*rows, strict=True), self._schema, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))


def _arrow_type(postgres_type: str) -> "pa.DataType":
    import pyarrow as pa  # noqa: PLC0415

    plain = {
        "boolean": pa.bool_(),
        "smallint": pa.int16(),
        "integer": pa.int32(),
        "bigint": pa.int64(),
        "real": pa.float32(),
        "double precision": pa.float64(),
        "date": pa.date32(),
        "timestamp with time zone": pa.timestamp("us", tz="UTC"),
        "timestamp without time zone": pa.timestamp("us"),
    }
    if postgres_type in plain:
        return plain[postgres_type]
    if (digits := _DECIMAL.fullmatch(postgres_type)) and int(digits[1]) <= 38:
        return pa.decimal128(int(digits[1]), int(digits[2]))
    return pa.string()  # an unbounded numeric too: no type of Arrow's holds every one
