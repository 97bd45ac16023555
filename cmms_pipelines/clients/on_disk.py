"""What a client must know of all rows of a source, kept on disk instead of in memory and asked for a page at a time.

What belongs here: temporary databases. What does not: what is in them (`odata_reference`, `odata_pages`).
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import orjson


class DiskDatabase:
    """A private SQLite database that threads may share; it vanishes when it is closed or forgotten.

    SQLite keeps up to 2 MB of it in memory and the rest in a file without a name, in TMPDIR. Whatever fails, as a full disk
    does, raises `sqlite3.Error`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect("", check_same_thread=False)
        self.close = weakref.finalize(self, self._connection.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def define(self, *statements: str) -> None:
        with self._lock:
            for statement in statements:
                self._connection.execute(statement)

    def insert(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute an INSERT for all rows or, where one fails, for none."""
        with self._lock, self._connection:
            self._connection.executemany(statement, rows)

    def select(self, statement: str, *values: str | int) -> list[Any]:
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def select_of(self, keys: Iterable[str], statement: str) -> list[Any]:
        """Execute a SELECT whose one parameter is a JSON array of the distinct keys."""
        return self.select(statement, orjson.dumps(list(set(keys))).decode())


class DiskNumbers:
    """Whole numbers by text keys."""

    def __init__(self) -> None:
        self._database = DiskDatabase()
        self._database.define("CREATE TABLE numbers (key TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()

    def of(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those keys that have one."""
        return dict(
            self._database.select_of(keys, "SELECT key, number FROM numbers WHERE key IN (SELECT value FROM json_each(?))")
        )

    def update(self, numbers: Mapping[str, int]) -> None:
        self._database.insert("INSERT OR REPLACE INTO numbers VALUES (?, ?)", numbers.items())
