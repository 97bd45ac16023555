"""Lists that an OData server pages: followed to their end, each row once, whatever the server makes of it (quirk 39).

What belongs here: links, repeats, and rows that move while they are read. What does not: which lists there are (`odata`),
retries and budgets (`transport`).
"""

from collections.abc import Iterator, Mapping
from urllib.parse import quote, urljoin

from cmms_pipelines.clients.envelope import Record
from cmms_pipelines.clients.transport import Transport
from cmms_pipelines.domain.errors import PermanentError, TransientError

PASSES = 3  # over a list whose rows moved while it was read
_SAFE = "$=&,()':-_.~/"
_Identity = tuple[str, ...]


class PagedLists:
    """The lists below one base address."""

    def __init__(self, transport: Transport, base_url: str) -> None:
        """`base_url` is the transport's."""
        self._transport = transport
        self._base_url = base_url.strip().rstrip("/") + "/"

    def pages(self, endpoint: str, options: Mapping[str, str], key: tuple[str, ...]) -> Iterator[list[Record]]:
        """The pages of a list whose rows have a `key`.

        The list is read again where it is shorter than the server counted it: rows were deleted or moved meanwhile, and
        what a server leaves out when it pages by position is found by the next pass. Raises `PermanentError` for pages that
        repeat and lead nowhere, `TransientError` for a list that goes on moving.
        """
        seen: set[_Identity] = set()
        first = link_to(endpoint, options)
        for _ in range(PASSES):
            total: int | None = None
            received: set[_Identity] = set()
            for page_total, records in self._chain(first, endpoint, key):
                total = page_total if total is None else total
                fresh = []
                for record in records:
                    identity = _identity(record, key)
                    received.add(identity)
                    if identity not in seen:
                        seen.add(identity)
                        fresh.append(record)
                if fresh:
                    yield fresh
            if total is None or len(received) >= total:
                return
        raise TransientError(
            f"{endpoint}: the source counts {total} rows and sent {len(received)}, in each of {PASSES} passes: "
            "its rows move while they are read; ask again later"
        )

    def _chain(self, first: str, endpoint: str, key: tuple[str, ...]) -> Iterator[tuple[int | None, list[Record]]]:
        """The pages from a first link on, each with the count of all rows where the server tells it."""
        followed: set[str] = set()
        known: set[_Identity] = set()
        link: str | None = first
        while link is not None:
            if link in followed:
                raise PermanentError(f"{endpoint}: a page links to one that was read before; the source pages in a circle")
            followed.add(link)
            page = self._transport.page(link)
            identities = {_identity(record, key) for record in page.records}
            if page.next_link is not None and identities and identities <= known:
                raise PermanentError(f"{endpoint}: a page brings no new row and links on; the source repeats itself")
            known |= identities
            yield page.total, page.records
            link = None if page.next_link is None else self._resolved(link, page.next_link)

    def _resolved(self, current: str, link: str) -> str:
        """A next link as it was given, relative to our base where it leads there; the transport refuses other hosts."""
        return urljoin(current, link).removeprefix(self._base_url)


def link_to(endpoint: str, options: Mapping[str, str]) -> str:
    """The endpoint with its options, percent-encoded but for what OData needs to be read by people."""
    return f"{endpoint}?{'&'.join(f'{name}={encoded(value)}' for name, value in options.items())}"


def encoded(value: str) -> str:
    return quote(value, safe=_SAFE)


def _identity(record: Record, key: tuple[str, ...]) -> _Identity:
    return tuple(str(record.get(name)) for name in key)
