"""Dialect `ims`: the plant filter travels as a JSON body on a GET, at most five plants a call, and nothing is paged.

A reply may therefore be of any size: it goes into a file, and its records are read back from there.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self

from cmms_pipelines.clients.envelope import Record
from cmms_pipelines.clients.replies import RefusedError
from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.clients.transport import Transport
from cmms_pipelines.domain.errors import PermanentError

PLANTS_PER_CALL = 5


class ImsApi:
    """An `ExternalApi`; one page is the reply for one batch of plants."""

    def __init__(self, transport: Transport, plants_per_call: int = PLANTS_PER_CALL) -> None:
        if not 1 <= plants_per_call <= PLANTS_PER_CALL:
            raise ValueError(f"a call takes 1 to {PLANTS_PER_CALL} plants, not {plants_per_call}")
        self._transport = transport
        self._plants_per_call = plants_per_call

    def __repr__(self) -> str:
        return f"ImsApi({self._transport!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def plants(self) -> list[Record]:
        try:
            return self._transport.page("plants").records
        except RefusedError as error:
            if error.status == 404:
                return []
            raise

    def equipment(self, plant_codes: Sequence[str]) -> Iterator[RecordSpool]:
        return self._pages("equipments", plant_codes, {})

    def running_times(self, plant_codes: Sequence[str], start: dt.date, end: dt.date) -> Iterator[RecordSpool]:
        return self._pages("equipments/jam-jalan", plant_codes, _window(start, end))

    def work_orders(self, plant_codes: Sequence[str], start: dt.date, end: dt.date) -> Iterator[RecordSpool]:
        return self._pages("work-order", plant_codes, _window(start, end))

    def _pages(self, endpoint: str, plant_codes: Sequence[str], params: dict[str, str]) -> Iterator[RecordSpool]:
        for plants in batches(plant_codes, self._plants_per_call):
            body: dict[str, Any] = {"plant": plants}
            spool = self._transport.spool(endpoint, params, body)
            if spool.next_link is not None:
                spool.close()
                raise PermanentError(f"{endpoint} is paged, which `ims` never is: check CMMS_API_DIALECT")
            yield spool


def batches(plant_codes: Sequence[str], size: int = PLANTS_PER_CALL) -> list[list[str]]:
    """The codes in slices of at most `size`, in their order, each code once."""
    codes = list(dict.fromkeys(plant_codes))
    return [codes[start : start + size] for start in range(0, len(codes), size)]


def _window(start: dt.date, end: dt.date) -> dict[str, str]:
    if end < start:
        raise ValueError(f"the window ends on {end}, before it starts on {start}")
    return {"start_date": start.isoformat(), "end_date": end.isoformat()}
