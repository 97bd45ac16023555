"""A slice's records in chunks of bounded size, such that what must be judged together is in one chunk.

What belongs here: where to cut. What does not: reading and judging what a chunk holds.

Rules span the records of one machine (repeats, several readings a day, the same number twice). When a slice has more than
one chunk, its keys are looked through first; the records of machines that occur in more than one chunk are set aside and
come last, in chunks of their own. So results depend neither on the size of chunks nor on the order of the records.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.domain.raw_records import RawRecords, RecordBlock
from cmms_pipelines.domain.sap_values import key_column

Keys = npt.NDArray[np.uint64]

_CHUNK_BITS = np.uint64(20)
_LAST_CHUNK = (1 << 20) - 1
_COMPARED_TOGETHER = 1 << 20
_MOST_ASIDE = 64  # files of records set aside


def chunks_of(spools: Sequence[RecordSpool], chunk_rows: int, key_fields: tuple[str, ...]) -> Iterator[RawRecords]:
    """Cut the records of a slice.

    Args:
        spools: the records.
        chunk_rows: how many a chunk holds at most, as long as no machine has more.
        key_fields: the names of the field with the equipment number.
    """
    total = sum(len(spool) for spool in spools)
    if total <= chunk_rows:
        yield from _cut(spools, max(chunk_rows, 1))
        return
    chunk_rows = max(chunk_rows, total // _LAST_CHUNK + 1)
    chunk_rows = -(-total // -(-total // chunk_rows))  # as many chunks as are needed, of one size: each costs by itself
    shared, count_aside = _shared_keys(spools, chunk_rows, key_fields, total)
    if not len(shared):
        yield from _cut(spools, chunk_rows)
        return
    aside = [RecordSpool() for _ in range(min(-(-count_aside // chunk_rows), _MOST_ASIDE))]
    try:
        for chunk in _cut(spools, chunk_rows):
            keys = _keys(chunk, key_fields)
            is_shared = np.isin(keys, shared)
            if not is_shared.all():
                yield chunk.only(~is_shared)
            for place, spool in enumerate(aside):
                for text, count in chunk.texts(is_shared & (keys % len(aside) == place)):
                    spool.append_text(text, count)
        for spool in aside:
            if len(spool):
                yield from _cut([spool], len(spool))
    finally:
        for spool in aside:
            spool.close()


def _cut(spools: Sequence[RecordSpool], rows: int) -> Iterator[RawRecords]:
    parts: list[tuple[RecordBlock, int, int]] = []
    room = rows
    for block in (block for spool in spools for block in spool.blocks()):
        start = 0
        while start < block.count:
            stop = min(block.count, start + room)
            parts.append((block, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield _emptied(parts)
                room = rows
    if parts:
        yield _emptied(parts)


def _emptied(parts: list[tuple[RecordBlock, int, int]]) -> RawRecords:
    """Return the parts as records, and let go of them."""
    records = RawRecords(parts)
    parts.clear()
    return records


def _shared_keys(spools: Sequence[RecordSpool], chunk_rows: int, key_fields: tuple[str, ...], total: int) -> tuple[Keys, int]:
    """Return the keys that occur in more than one chunk, and how many records have one of them."""
    seen = np.empty(total, dtype="uint64")  # key and chunk in one number: 8 bytes a record are all that this keeps
    start = 0
    for number, chunk in enumerate(_cut(spools, chunk_rows)):
        seen[start : start + len(chunk)] = _keys(chunk, key_fields) << _CHUNK_BITS | np.uint64(number)
        start += len(chunk)
    seen.sort()
    shared: list[Keys] = []
    for begin in range(0, total - 1, _COMPARED_TOGETHER):
        some = seen[begin : begin + _COMPARED_TOGETHER + 1]
        difference = some[1:] ^ some[:-1]
        shared.append(np.unique(some[1:][(difference != 0) & (difference <= _LAST_CHUNK)] >> _CHUNK_BITS))
    found = np.unique(np.concatenate(shared))
    ends = np.searchsorted(seen, found << _CHUNK_BITS | np.uint64(_LAST_CHUNK), side="right")
    return found, int((ends - np.searchsorted(seen, found << _CHUNK_BITS)).sum())


def _keys(chunk: RawRecords, key_fields: tuple[str, ...]) -> Keys:
    """Return a number for each record's machine, the same for every spelling of its number."""
    numbers = key_column(chunk.columns({"key": key_fields})["key"])
    hashes = np.fromiter(map(hash, numbers.fillna("").to_list()), dtype="int64", count=len(chunk))
    return hashes.view("uint64") >> _CHUNK_BITS
