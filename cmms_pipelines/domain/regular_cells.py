"""Whole columns of cells that need no care, read at once: the fast half of `domain.sap_values`.

What belongs here: recognizing, column by column, the cells whose reading is certain (text without padding, plain decimal
numbers, ISO stamps), and reading those in Arrow and numpy. What does not: what an irregular cell means; the caller reads
it with the exact reader of one cell. Everything here errs towards calling a cell irregular.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

_STR = pd.StringDtype("pyarrow", na_value=np.nan)
_MINUTE_US = 60_000_000
# the years in which every clock on earth changes at whole minutes
_FIRST_MINUTE, _LAST_MINUTE = (int(np.datetime64(day, "m").astype("int64")) for day in ("1970-01-02", "2100-01-01"))
_MINUTE_BITS = 32  # room for all of them
_LONGEST_NUMBER = 17


def _bytes_that(holds: Callable[[int], bool]) -> Mask:
    return np.array([holds(byte) for byte in range(256)])


_IS_EDGE_OF_TEXT = _bytes_that(lambda byte: 0x21 <= byte <= 0x7E and byte != ord("_"))
_IS_START_OF_TEXT = _bytes_that(lambda byte: 0x21 <= byte <= 0x7E)
_IS_DIGIT = _bytes_that(lambda byte: 0x30 <= byte <= 0x39)


class Texts:
    """A column of texts and nulls, with its bytes at hand."""

    def __init__(self, array: pa.LargeStringArray) -> None:
        self.array = array
        _, offsets, data = array.buffers()
        self._offsets = np.frombuffer(offsets, dtype="int64", count=len(array) + 1) if len(array) else np.zeros(1, dtype="int64")
        self._bytes = np.frombuffer(data, dtype="uint8") if data is not None and data.size else np.zeros(1, dtype="uint8")
        self.lengths = np.diff(self._offsets)
        self.is_null: Mask = np.asarray(array.is_null()) if array.null_count else np.zeros(len(array), dtype="bool")

    @property
    def is_unpadded(self) -> Mask:
        """Where a text is null or reads as itself: no blank, NUL or underscore at its ends, and not empty."""
        inner = self._bytes[self._offsets[0] : self._offsets[-1]]
        if len(inner) and not inner.all():  # a NUL somewhere, which only the exact reader handles
            return self.is_null
        return self.is_null | ((self.lengths > 0) & _IS_START_OF_TEXT[self.first] & _IS_EDGE_OF_TEXT[self._last])

    @property
    def first(self) -> npt.NDArray[np.uint8]:
        """The first byte of each text; of an empty one any byte."""
        first: npt.NDArray[np.uint8] = self._bytes[np.minimum(self._offsets[:-1], len(self._bytes) - 1)]
        return first

    @property
    def is_number(self) -> Mask:
        """Where a text is digits with at most one point between them: a number in every locale but for the point."""
        digits = self._count(_IS_DIGIT[self._bytes])
        points = self._count(self._bytes == ord("."))
        is_short = (self.lengths > 0) & (self.lengths <= _LONGEST_NUMBER)
        is_whole = (digits + points == self.lengths) & (points <= 1)
        is_number: Mask = is_short & is_whole & _IS_DIGIT[self.first] & _IS_DIGIT[self._last]
        return is_number

    @property
    def is_of_digits(self) -> Mask:
        """Where a text is all ASCII digits."""
        return np.asarray(pc.fill_null(pc.ascii_is_decimal(self.array), False))

    def same_length(self) -> npt.NDArray[np.uint8] | None:
        """The texts as a matrix of bytes, one row each, where all have one length and none is null; else None."""
        length = int(self.lengths[0]) if len(self.lengths) else 0
        if not length or self.is_null.any() or not (self.lengths == length).all():
            return None
        return self._bytes[self._offsets[0] : self._offsets[-1]].reshape(-1, length)

    @property
    def _last(self) -> npt.NDArray[np.uint8]:
        last: npt.NDArray[np.uint8] = self._bytes[np.maximum(self._offsets[1:] - 1, 0)]
        return last

    def _count(self, is_counted: Mask) -> npt.NDArray[np.int64]:
        """Count the marked bytes of each text."""
        sums = np.concatenate([[0], np.cumsum(is_counted, dtype="int64")])
        counts: npt.NDArray[np.int64] = sums[self._offsets[1:]] - sums[self._offsets[:-1]]
        return counts


def texts_of(cells: Sequence[object]) -> Texts | None:
    """Return the cells as texts, or None where one of them is something else than text or null."""
    try:
        return Texts(pa.array(cells, pa.large_string()))
    except (pa.ArrowException, UnicodeError):
        return None


def numbers_of(cells: Sequence[object]) -> npt.NDArray[np.float64] | None:
    """Return the cells as numbers (null as NaN), or None where one is something else than a JSON number or null."""
    if bool in set(map(type, cells)):  # Arrow takes True for 1
        return None
    try:
        numbers = pa.array(cells, pa.float64())
    except pa.ArrowException:
        return None
    return numbers.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def most_bytes(texts: pd.Series) -> int:
    """Return the length of the longest text in UTF-8, which is at least as much as it has characters."""
    return int(pc.max(pc.binary_length(as_array(texts))).as_py() or 0)


def as_series(array: pa.LargeStringArray) -> pd.Series:
    """Return an Arrow array of texts as a series, without a copy."""
    return pd.Series(pd.arrays.ArrowStringArray(array, dtype=_STR))  # type: ignore[call-arg]  # the stubs lack it


def as_array(texts: pd.Series) -> pa.LargeStringArray:
    """Return a series of texts as one Arrow array."""
    array = pa.array(texts, pa.large_string())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def without_zeros(texts: Texts) -> pa.LargeStringArray:
    """Return unpadded keys under SAP's ALPHA rule (quirk 1)."""
    is_padded = texts.is_of_digits & (texts.first == ord("0"))
    if not is_padded.any():
        return texts.array
    stripped = pc.ascii_ltrim(texts.array, characters="0")
    stripped = pc.if_else(pc.equal(stripped, ""), "0", stripped)
    return pc.if_else(pa.array(is_padded), stripped, texts.array)


def parse_numbers(texts: Texts, is_regular: Mask) -> npt.NDArray[np.float64]:
    """Return the numbers of the regular texts, NaN elsewhere."""
    array = texts.array if is_regular.all() else pc.if_else(pa.array(is_regular), texts.array, None)
    return pc.cast(array, pa.float64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def instants_of(texts: Texts, zones: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.datetime64] | None:
    """Return the UTC instants (microseconds) of stamps that all have one ISO form, or None where they have not.

    The forms are `YYYY-MM-DD hh:mm:ss` with `T` or a blank between, with or without six digits of a second's fraction,
    and with `Z` or with nothing at the end, which means the clock of the row's zone.
    """
    matrix = texts.same_length()
    if matrix is None or matrix.shape[1] not in {19, 20, 26, 27}:
        return None
    is_utc = matrix.shape[1] in {20, 27}
    pattern = "dddd-dd-dd?dd:dd:dd" + (".dddddd" if matrix.shape[1] > 20 else "") + ("Z" if is_utc else "")
    for column, mark in enumerate(pattern):
        of_column = matrix[:, column]
        match mark:
            case "d":
                is_right = _IS_DIGIT[of_column]
            case "?":
                is_right = (of_column == ord("T")) | (of_column == ord(" "))
            case _:
                is_right = of_column == ord(mark)
        if not is_right.all():
            return None
    try:
        kind = pa.timestamp("us", "UTC") if is_utc else pa.timestamp("us")
        local = pc.cast(texts.array, kind).cast(pa.int64()).to_numpy()
    except pa.ArrowException:
        return None
    minutes = local // _MINUTE_US
    if len(local) and not (minutes.min() >= _FIRST_MINUTE and minutes.max() < _LAST_MINUTE):
        return None
    instants = local if is_utc else local - _offsets_us(minutes, zones)
    return instants.astype("datetime64[us]")  # type: ignore[no-any-return]


def _offsets_us(minutes: npt.NDArray[np.int64], zones: Sequence[str] | npt.NDArray[np.object_]) -> npt.NDArray[np.int64]:
    """Return how far each zone's clock is ahead of UTC when it shows these minutes, the first time that it does."""
    codes, names = pd.factorize(np.asarray(zones, dtype=object))
    position, distinct = pd.factorize(codes.astype("int64") << _MINUTE_BITS | minutes)
    shown = distinct & ((1 << _MINUTE_BITS) - 1)
    offsets = [_offset_us(str(names[code]), int(minute)) for code, minute in zip(distinct >> _MINUTE_BITS, shown, strict=True)]
    return np.array(offsets, dtype="int64")[position]


@lru_cache(maxsize=65_536)
def _offset_us(zone: str, minute: int) -> int:
    shown = datetime(1970, 1, 1, tzinfo=ZoneInfo(zone)) + pd.Timedelta(minute, "min").to_pytimedelta()
    offset = shown.utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1_000_000)
