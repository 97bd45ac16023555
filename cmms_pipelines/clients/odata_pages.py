"""Lists that an OData server pages: followed to their end, each row once, whatever the server makes of it (quirk 39).

What belongs here: links, repeats, and rows that move while they are read. What does not: which lists there are (`odata`),
retries and budgets (`transport`).
"""

from collections.abc import Iterator, Mapping
from urllib.parse import quote, urljoin

import orjson

from cmms_pipelines.clients.envelope import Record
from cmms_pipelines.clients.on_disk import DiskNumbers
from cmms_pipelines.clients.transport import Page, Transport
from cmms_pipelines.domain.errors import PermanentError, TransientError

PASSES = 3  # over a list whose rows moved while it was read
_SAFE = "$=&,()':-_.~/"


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
        first = link_to(endpoint, options)
        with DiskNumbers() as last_passes:  # in which each row came, by its identity
            for number in range(PASSES):
                total: int | None = None
                received = 0
                for page in self._chain(first, endpoint):
                    total = page.total if total is None else total
                    records: dict[str, Record] = {}
                    for record in page.records:
                        records.setdefault(_identity(record, key), record)
                    known = last_passes.of(records)
                    new = [identity for identity in records if known.get(identity) != number]
                    if page.next_link is not None and records and not new:
                        raise PermanentError(f"{endpoint}: a page brings no new row and links on; the source repeats itself")
                    received += len(new)
                    last_passes.update(dict.fromkeys(new, number))
                    fresh = [record for identity, record in records.items() if identity not in known]
                    if fresh:
                        yield fresh
                if total is None or received >= total:
                    return
        raise TransientError(
            f"{endpoint}: the source counts {total} rows and sent {received}, in each of {PASSES} passes: "
            "its rows move while they are read; ask again later"
        )

    def _chain(self, first: str, endpoint: str) -> Iterator[Page]:
        """The pages from a first link on."""
        followed: set[str] = set()
        link: str | None = first
        while link is not None:
            if link in followed:
                raise PermanentError(f"{endpoint}: a page links to one that was read before; the source pages in a circle")
            followed.add(link)
            page = self._transport.page(link)
            yield page
            link = None if page.next_link is None else self._resolved(link, page.next_link)

    def _resolved(self, current: str, link: str) -> str:
        """A next link as it was given, relative to our base where it leads there; the transport refuses other hosts."""
        return urljoin(current, link).removeprefix(self._base_url)


def link_to(endpoint: str, options: Mapping[str, str]) -> str:
    """The endpoint with its options, percent-encoded but for what OData needs to be read by people."""
    return f"{endpoint}?{'&'.join(f'{name}={encoded(value)}' for name, value in options.items())}"


def encoded(value: str) -> str:
    return quote(value, safe=_SAFE)


def _identity(record: Record, key: tuple[str, ...]) -> str:
    return orjson.dumps([str(record.get(name)) for name in key]).decode()
