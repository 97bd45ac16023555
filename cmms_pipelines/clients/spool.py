"""Replies of any size in a temporary file: checked from end to end, read back block by block.

What belongs here: where the records of a reply begin, where they may be cut, and that all of it is JSON. What does not: HTTP
(`transport`), which envelopes there are (`envelope`), what a record means (`domain`).

A reply's array of records is cut into blocks of about a megabyte, each at the border between two records: text before a
border is right if, put into brackets, it is JSON. What is left of the reply without its records is small, and is read as
any other reply.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import IO, Any, NamedTuple, Self, overload

import msgspec
import orjson

from cmms_pipelines.clients.envelope import Record, records_and_next
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.raw_records import RawRecords, RecordBlock, checked_records
from cmms_pipelines.domain.record_digests import Digests

BLOCK_BYTES = 1 << 18  # its records are read within a processor's own cache, and copies of it need no new pages (`sync.memory`)
_IN_MEMORY_BYTES = 1 << 18  # replies are many when they are small
_HEAD_BYTES = 1 << 12
_LAST_BRACKETS = 8
_APPENDED_TOGETHER = 1000

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}:,"]', re.DOTALL)
_BORDER = re.compile(rb"\}\s*,\s*\{")
_POSITION = re.compile(r"\$\[(\d+)\]")
# where an array of records may stand: the keys that lead to it
_PLACES = ((), (b"data",), (b"value",), (b"d",), (b"d", b"results"))


class BrokenReplyError(ValueError):
    """A reply that is cut off or no JSON."""


class _Block(NamedTuple):
    """Where records lie, how many, and their digests, if they were hashed when they came."""

    start: int
    length: int
    records: int
    digests: Digests | None


class RecordSpool(Sequence[Record]):
    """The records of one reply, or of several pages, as a sequence that lies in a file until it is read."""

    def __init__(self, block_bytes: int = BLOCK_BYTES) -> None:
        """An empty one. The file is deleted when the spool is closed or forgotten."""
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by `close`
        self._place = Lock()  # a file has one, and blocks are looked at by several threads
        self._block_bytes = block_bytes
        self._blocks: list[_Block] = []
        self._size = 0
        self.next_link: str | None = None

    @classmethod
    def of_reply(cls, parts: Iterable[bytes], block_bytes: int = BLOCK_BYTES) -> Self:
        """Take the body of a reply as it arrives, and check it.

        Raises:
            BrokenReplyError: it is cut or no JSON.
            PermanentError: it is in no known envelope, or holds records that are no objects.
        """
        spool = cls(block_bytes)
        try:
            for part in parts:
                spool._file.write(part)
                spool._size += len(part)
            spool._index()
        except BaseException:
            spool.close()
            raise
        return spool

    def append(self, records: Sequence[Record]) -> None:
        """Add records that have been decoded already."""
        for start in range(0, len(records), _APPENDED_TOGETHER):
            some = records[start : start + _APPENDED_TOGETHER]
            self.append_text(orjson.dumps(some)[1:-1], len(some))

    def append_text(self, text: bytes, count: int) -> None:
        """Add `count` records as JSON with commas between them; few at a time become one block, since each has its price."""
        last = self._blocks[-1] if self._blocks else None
        is_joined = last is not None and last.start + last.length == self._size and last.length + len(text) < self._block_bytes
        with self._place:
            self._file.seek(self._size)
            self._file.write(b"," + text if is_joined else text)
        if last is not None and is_joined:
            self._blocks[-1] = _Block(last.start, last.length + 1 + len(text), last.records + count, None)
        else:
            self._blocks.append(_Block(self._size, len(text), count, None))
        self._size = self._blocks[-1].start + self._blocks[-1].length

    def close(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return sum(block.records for block in self._blocks)

    @overload
    def __getitem__(self, position: int) -> Record: ...
    @overload
    def __getitem__(self, position: slice) -> list[Record]: ...
    def __getitem__(self, position: int | slice) -> Record | list[Record]:
        positions = range(len(self))[position]
        if isinstance(positions, int):
            return next(islice(self, positions, None))
        return list(self)[position]

    def __iter__(self) -> Iterator[Record]:
        for block in self.blocks():
            yield from RawRecords([(block, 0, block.count)])

    def blocks(self) -> Iterator[RecordBlock]:
        """Give the records, block by block; a block reads its part of the file whenever somebody looks, until it is closed."""
        for block in self._blocks:
            yield RecordBlock(partial(self._read, block.start, block.length), block.records, block.digests)

    def _read(self, start: int, length: int) -> bytes:
        with self._place:
            self._file.seek(start)
            return self._file.read(length)

    def _index(self) -> None:
        head, start = self._head()
        # without an array of records there is nothing that is large
        body = head if start is None else head[:start] + b"]" + self._index_records(start)
        records, self.next_link = records_and_next(_decoded(body))
        if records:  # it had several arrays, and the one that counts is still in the body
            self._blocks.clear()
            self.append(records)

    def _head(self) -> tuple[bytes, int | None]:
        """Return the beginning of the reply, and where in it the records begin."""
        length = _HEAD_BYTES
        while True:
            head = self._read(0, length)
            start = _start_of_records(head)
            if start is not None or len(head) < length:
                return head, start
            length *= 4

    def _index_records(self, start: int) -> bytes:
        """Cut and check the records from `start` on; return what follows their array."""
        length = self._block_bytes
        while True:
            text = self._read(start, length)
            is_rest = start + len(text) == self._size
            piece = self._piece(text, is_rest=is_rest)
            if piece is None:
                if is_rest:
                    raise BrokenReplyError("the array of records has no end")
                length *= 2  # a record that is larger than the block
                continue
            length = self._block_bytes
            if len(piece.digests):
                self._blocks.append(_Block(start, piece.length, len(piece.digests), piece.digests))
            if piece.is_end:
                return self._read(start + piece.next, self._size)
            start += piece.next

    def _piece(self, text: bytes, *, is_rest: bool) -> "_Piece | None":
        try:
            return (_whole_rest(text) if is_rest else _usual_cut(text)) or _exact_cut(text)
        except msgspec.ValidationError as error:
            position = len(self) + int(match[1]) if (match := _POSITION.search(str(error))) else len(self)
            raise PermanentError(f"record {position} of the reply is no object ({error})") from error
        except ValueError as error:
            raise BrokenReplyError(str(error)) from error


class _Piece(NamedTuple):
    """Whole records at the beginning of a text: their bytes and digests, whether the array ends behind them, what is next."""

    length: int
    digests: Digests
    is_end: bool
    next: int


def _usual_cut(text: bytes) -> _Piece | None:
    """Cut at the last `},{`, which is a border unless it stands in a string or in an array of a record."""
    last = text.rfind(b"},{")
    if last < 0:
        borders = list(_BORDER.finditer(text))
        if not borders:
            return None
        last, following = borders[-1].start(), borders[-1].end() - 1
    else:
        following = last + 2
    digests = _checked_or_none(text[: last + 1])
    return None if digests is None else _Piece(last + 1, digests, is_end=False, next=following)


def _whole_rest(text: bytes) -> _Piece | None:
    """Take all records up to the end of the array, where what follows it is short."""
    end = len(text)
    for _ in range(_LAST_BRACKETS):
        end = text.rfind(b"]", 0, end)
        if end < 0:
            return None
        digests = _checked_or_none(text[:end])
        if digests is not None:
            return _Piece(end, digests, is_end=True, next=end + 1)
    return None


def _exact_cut(text: bytes) -> _Piece | None:
    """Follow strings and brackets from the beginning to the last border or the end of the array; None if there is neither."""
    depth, border = 0, None
    for token in _TOKEN.finditer(text):
        match token[0]:
            case b"{" | b"[":
                depth += 1
            case b"]" if depth == 0:
                return _Piece(token.start(), checked_records(text[: token.start()]), is_end=True, next=token.end())
            case b"}" | b"]":
                depth -= 1
            case b"," if depth == 0:
                border = token
            case b'"':  # the text ends within a string
                break
    if border is None:
        return None
    return _Piece(border.start(), checked_records(text[: border.start()]), is_end=False, next=border.end())


def _checked_or_none(text: bytes) -> Digests | None:
    """Check records; None where the text does not end at a border, or is broken, which the exact way tells apart."""
    try:
        return checked_records(text)
    except msgspec.ValidationError:
        raise
    except ValueError:
        return None


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - any JSON
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BrokenReplyError(f"{error.msg} at character {error.pos}") from error


def _start_of_records(head: bytes) -> int | None:
    """Return the position behind the bracket that opens the array of records."""
    keys: list[bytes] = []  # of all that is open: the present key of an object, nothing for an array
    text = b""
    for token in _TOKEN.finditer(head):
        match token[0]:
            case b"[" if tuple(keys) in _PLACES:
                return token.end()
            case b"{" | b"[":
                keys.append(b"")
            case b"]" | b"}":
                del keys[-1:]
            case b":":
                keys[-1:] = [text[1:-1]]
            case b'"':  # the head ends within a string
                return None
            case b",":
                pass
            case _:
                text = token[0]
    return None
