"""The slices of a sync one after the other, each read ahead of its turn.

What belongs here: when a slice is fetched, and when it is written. What does not: reading (`sync.reader`), writing
(`sync.writer`), and what happens when a slice fails (`sync.session`).
"""

from collections.abc import Callable, Sequence

from cmms_pipelines.domain.reports import SyncCounts
from cmms_pipelines.log_context import bound
from cmms_pipelines.storage.sync_log import done_slices
from cmms_pipelines.sync.ahead import InTurn
from cmms_pipelines.sync.memory import return_freed_memory, trim
from cmms_pipelines.sync.reader import SliceReader
from cmms_pipelines.sync.session import Slice, SyncSession


def work_through(
    session: SyncSession,
    slices: Sequence[Slice],
    read: Callable[[Slice], SliceReader],
    write: Callable[[Slice, SliceReader], SyncCounts],
    *,
    in_flight: int,
) -> None:
    """Read and write all slices that no earlier attempt has done; raises as `SyncSession.run_slices` does.

    Args:
        session: the sync.
        slices: in the order of their days.
        read: fetches a slice.
        write: writes one; it gets each from `read`.
        in_flight: slices that are written at a time; as many more are read ahead.
    """
    return_freed_memory()  # before there are threads: each takes a part of the heap when it begins
    done = done_slices(session.engine, session.log.sync_key)
    todo = [piece for piece in slices if piece.key not in done]

    def read_ahead(piece: Slice) -> SliceReader:
        with bound(**piece.log_fields):
            return read(piece)

    with InTurn(todo, read_ahead, SliceReader.close, depth=in_flight) as ahead:

        def work(piece: Slice) -> SyncCounts:
            with ahead.take(piece) as reader:
                counts = write(piece, reader)
            trim()
            return counts

        session.run_slices(slices, work, max_in_flight=in_flight)
