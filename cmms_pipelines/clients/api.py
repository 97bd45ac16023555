"""What the sync needs from an external system, whatever dialect it speaks."""

import datetime as dt
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Protocol, Self


class ExternalApi(Protocol):
    """Raw records, page by page, just as the source sent them; the domain maps and judges them.

    A page that may be large is a `RecordSpool`, which the caller closes.

    Every method raises `TransientError` when a source stays unreachable and `PermanentError` when asking again is useless.
    No plant codes: no request and no pages. The code `""` stands for equipment that has no plant.
    """

    def plants(self) -> list[dict[str, Any]]:
        """Every plant; empty where the source has no such list."""
        ...

    def equipment(self, plant_codes: Sequence[str]) -> Iterator[Sequence[dict[str, Any]]]:
        """Master records of the plants."""
        ...

    def running_times(self, plant_codes: Sequence[str], start: dt.date, end: dt.date) -> Iterator[Sequence[dict[str, Any]]]:
        """Readings of the business days from `start` to `end` inclusive."""
        ...

    def work_orders(self, plant_codes: Sequence[str], start: dt.date, end: dt.date) -> Iterator[Sequence[dict[str, Any]]]:
        """Work orders that changed from `start` to `end` inclusive."""
        ...


class ConnectedApi(ExternalApi, Protocol):
    """An `ExternalApi` that holds connections and lets go of them at the end of its `with` block."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
