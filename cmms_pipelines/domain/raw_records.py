"""Records as their JSON text, decoded no further than somebody looks: a million of them cost little more than their bytes.

What belongs here: columns out of JSON, whole records where one is refused, and some records out of many. What does not:
what a field means (`domain.records`), and where the text comes from (`clients.spool`).
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, overload

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from cmms_pipelines.domain.record_digests import Digests, digests_of

RawRecord = Mapping[str, Any]
Fields = Mapping[str, tuple[str, ...]]
Cells = list[object]

ABSENT = msgspec.UNSET  # the cell of a record that lacks the field, which is something else than null


class RecordBlock:
    """Consecutive records as JSON, with the commas between them and no brackets around."""

    def __init__(self, text: bytes | Callable[[], bytes], count: int, digests: Digests | None = None) -> None:
        """Take checked records.

        Args:
            text: of the records; or what reads it whenever somebody looks, so that it is not kept in between.
            count: how many objects it has been checked to hold.
            digests: of the records, if they were hashed on the way (see `checked_records`).
        """
        self._text = text
        self.count = count
        self._kept: tuple[object, dict[str, Cells]] | None = None
        self._digests = digests

    def columns(self, fields: Fields, optional: tuple[str, ...]) -> dict[str, Cells]:
        """Return the columns of `RawRecords.columns`; they are kept until `forget`, for a block that several callers share."""
        question = (tuple(fields.items()), optional)
        if self._kept is None or self._kept[0] != question:
            self._kept = (question, _columns_of(self._list(), fields, optional))
        return self._kept[1]

    def forget(self) -> None:
        """Let go of the columns."""
        self._kept = None

    def texts(self) -> list[msgspec.Raw]:
        """Return the JSON of each record, character by character as it came."""
        return _RAW.decode(self._list())

    def digests(self) -> Digests:
        """Return the digest of each record; they are kept, as a block may be part of several chunks."""
        if self._digests is None:
            self._digests = digests_of(self.texts())
        return self._digests

    def _list(self) -> bytes:
        return b"[%b]" % (self._text if isinstance(self._text, bytes) else self._text())


class RawRecords(Sequence[RawRecord]):
    """Some records out of blocks, in their order; those that nobody asks for one by one are never made into objects."""

    def __init__(self, parts: Iterable[tuple[RecordBlock, int, int]]) -> None:
        """`parts` are blocks, each with the first record that is meant and the one after the last."""
        self._parts = [(block, start, stop) for block, start, stop in parts if stop > start]

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self._parts)

    @overload
    def __getitem__(self, position: int) -> RawRecord: ...
    @overload
    def __getitem__(self, position: slice) -> "RawRecords": ...
    def __getitem__(self, position: int | slice) -> "RawRecord | RawRecords":
        positions = range(len(self))[position]
        if isinstance(positions, int):
            return self.pick([positions])[positions]
        is_kept = np.zeros(len(self), dtype="bool")
        is_kept[positions.start : positions.stop : positions.step] = True
        return self.only(is_kept)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for block, start, stop in self._parts:
            yield from map(_record_of, block.texts()[start:stop])

    def pick(self, positions: Iterable[int]) -> dict[int, RawRecord]:
        """Return whole records by their positions."""
        is_wanted = np.zeros(len(self), dtype="bool")
        is_wanted[list(positions)] = True
        records = (_record_of(text) for texts in self._texts(is_wanted) for text in texts)
        return dict(zip(np.flatnonzero(is_wanted).tolist(), records, strict=True))

    def only(self, is_kept: npt.NDArray[np.bool_]) -> "RawRecords":
        """Return the records where `is_kept` is set, without the others' text."""
        if is_kept.all():
            return self
        return RawRecords((RecordBlock(text, count), 0, count) for text, count in self.texts(is_kept))

    def texts(self, is_wanted: npt.NDArray[np.bool_]) -> Iterator[tuple[bytes, int]]:
        """Give the marked records as JSON with commas between them, and how many they are, block by block."""
        for texts in self._texts(is_wanted):
            yield b",".join(map(bytes, texts)), len(texts)

    def columns(self, fields: Fields, optional: tuple[str, ...] = ()) -> dict[str, Cells]:
        """Return cells by column.

        Args:
            fields: column -> names of its field; the first one that a record has gives the cell, None where it has none.
            optional: further fields, each its own column; `ABSENT` where a record lacks it.
        """
        columns: dict[str, Cells] = {column: [] for column in (*fields, *optional)}
        for block, start, stop in self._parts:
            for column, cells in block.columns(fields, optional).items():
                columns[column] += cells if (start, stop) == (0, block.count) else cells[start:stop]
            if stop == block.count:
                block.forget()
        return columns

    def digests(self) -> Digests:
        """Return the digest of each record."""
        found = [block.digests()[start:stop] for block, start, stop in self._parts]
        return np.concatenate(found) if found else np.zeros(0, dtype="int64")

    def _texts(self, is_wanted: npt.NDArray[np.bool_]) -> Iterator[list[msgspec.Raw]]:
        """Give the JSON of the marked records, block by block."""
        first = 0
        for block, start, stop in self._parts:
            rows = start + np.flatnonzero(is_wanted[first : first + stop - start])
            first += stop - start
            if len(rows):
                texts = block.texts()
                yield [texts[row] for row in rows.tolist()]


def checked_records(text: bytes) -> Digests:
    """Return the digest of each record of a block's text, after checking all of it.

    Raises:
        msgspec.ValidationError: one of them is no object.
        ValueError: it is no JSON.
    """
    body = b"[%b]" % text
    if not body.isascii():
        body.decode()  # the parser below leaves strings alone that nobody asks for
    try:
        texts = _RAW.decode(body)
        if not {memoryview(text)[0] for text in texts} <= _BRACE:
            _OBJECTS.decode(body)  # says which one is none
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return digests_of(texts)


class _AnyObject(msgspec.Struct):
    """A JSON object whose fields are looked through and forgotten."""


_BRACE = frozenset(b"{")
_OBJECTS = msgspec.json.Decoder(list[_AnyObject])
_RAW = msgspec.json.Decoder(list[msgspec.Raw])


@cache
def _rows_decoder(names: tuple[str, ...], required: int) -> "msgspec.json.Decoder[list[msgspec.Struct]]":
    """Return a decoder of lists of rows with cells `f0`, `f1`, ... for the `names`, of which the first ones are required."""
    cells = [(f"f{place}", Any) if place < required else (f"f{place}", Any, ABSENT) for place in range(len(names))]
    rename = {f"f{place}": name for place, name in enumerate(names)}
    # without the garbage collector's care: a row holds cells of JSON, which never lead back to it
    row = msgspec.defstruct("Row", cells, rename=rename, gc=False)
    return msgspec.json.Decoder(list[row])  # type: ignore[valid-type]


def _columns_of(body: bytes, fields: Fields, optional: tuple[str, ...]) -> dict[str, Cells]:
    """Decode columns, in the cheapest way that is right for these records."""
    usual = {column: names[0] for column, names in fields.items()}
    columns = _uniform_columns(body, fields, usual, optional)
    if columns is None:  # not each record has the first name of each column: perhaps all are like the first record
        example = _record_of(_RAW.decode(body)[0])
        alike = {column: next((name for name in names if name in example), None) for column, names in fields.items()}
        columns = _uniform_columns(body, fields, alike, optional)
    return _mixed_columns(body, fields, optional) if columns is None else columns


def _uniform_columns(
    body: bytes, fields: Fields, chosen: Mapping[str, str | None], optional: tuple[str, ...]
) -> dict[str, Cells] | None:
    """Return the columns if every record has the chosen names (None: no name of that column) and no name that goes before."""
    required = tuple(dict.fromkeys(name for name in chosen.values() if name is not None))
    better = tuple(
        name for column, names in fields.items() for name in names[: names.index(chosen[column]) if chosen[column] else None]
    )
    names = tuple(dict.fromkeys((*required, *better, *optional)))
    try:
        rows = _rows_decoder(names, len(required)).decode(body)
    except msgspec.DecodeError:
        return None
    cells = {name: list(map(attrgetter(f"f{place}"), rows)) for place, name in enumerate(names)}
    if any(cells[name].count(ABSENT) < len(rows) for name in better):
        return None
    none: Cells = [None] * len(rows)
    return {column: none if name is None else cells[name] for column, name in chosen.items()} | {
        name: cells[name] for name in optional
    }


def _mixed_columns(body: bytes, fields: Fields, optional: tuple[str, ...]) -> dict[str, Cells]:
    names = tuple(dict.fromkeys((*(name for column in fields.values() for name in column), *optional)))
    records = list(map(_record_of, _RAW.decode(body)))
    cells: dict[str, Cells] = {name: [record.get(name, ABSENT) for record in records] for name in names}
    return {column: _first_present([cells[name] for name in of_column]) for column, of_column in fields.items()} | {
        name: cells[name] for name in optional
    }


def _first_present(candidates: Sequence[Cells]) -> Cells:
    cells = candidates[0]
    for others in candidates[1:]:
        cells = [other if cell is ABSENT else cell for cell, other in zip(cells, others, strict=True)]
    return [None if cell is ABSENT else cell for cell in cells]


def _record_of(text: msgspec.Raw) -> dict[str, Any]:
    try:
        record: dict[str, Any] = orjson.loads(bytes(text))
    except orjson.JSONDecodeError:  # a number beyond all floats is kept as its digits
        record = json.loads(bytes(text), parse_float=_float_or_digits)
    return record


def _float_or_digits(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits
