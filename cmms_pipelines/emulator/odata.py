"""The routes of the dialects `odata_v2` and `odata_v4`: paging by the server, envelopes and the errors of SAP's gateway.

What does not belong here: which rows there are (`odata_entities`) and what a query option means (`odata_query`).
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

import orjson
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.access import Fields, Refusal, every_form_of, refused_unless
from cmms_pipelines.emulator.odata_entities import EntitySet, spelt_v2, spelt_v4
from cmms_pipelines.emulator.odata_query import (
    QueryError,
    Row,
    options_of,
    ordered,
    parse_filter,
    selected,
    whole_number,
)

PAGE_SIZE = 1000
LOGON_PAGE = "<html><head><title>Logon Error Message</title></head><body><h1>Logon failed</h1></body></html>"
OVERLAP = 3


@dataclass(frozen=True)
class Traps:
    """What goes wrong with paging on purpose.

    no_filter: the next link has the token alone, which stands for the whole query. plus: the token has a `+` that is not
    encoded. quotes: it has quotes. repeat: the second page's link leads to the second page. overlap: each page begins with
    the last rows of the page before. deleted: a row of the first page is gone once it has been sent.
    """

    kinds: frozenset[str] = field(default_factory=frozenset)

    KINDS = ("no_filter", "plus", "quotes", "repeat", "overlap", "deleted")

    @classmethod
    def parse(cls, spec: str) -> Self:
        """Read `plus,overlap`; raises `PermanentError` that says what is wrong with it."""
        kinds = {part.strip() for part in spec.split(",")} - {""}
        if unknown := sorted(kinds - set(cls.KINDS)):
            raise PermanentError(f"--traps: {unknown[0]!r} is none of {', '.join(cls.KINDS)}")
        if len(kinds & {"no_filter", "plus", "quotes"}) > 1:
            raise PermanentError("--traps: a token is of one kind: give one of no_filter, plus, quotes")
        return cls(frozenset(kinds))


@dataclass(frozen=True)
class Settings:
    """How a service answers: `version` is 2 or 4, `page_size` how many rows it sends at once."""

    version: int
    page_size: int = PAGE_SIZE
    traps: Traps = field(default_factory=Traps)

    def refusal(self, status: int, code: str, message: str) -> Refusal:
        """An error body as SAP's gateway sends it."""
        if self.version == 4:
            return Refusal(status, {"error": {"code": code, "message": message, "details": []}})
        inner = {"transactionid": "0" * 32, "timestamp": "20130421001500.0000000", "errordetails": []}
        return Refusal(status, {"error": {"code": code, "message": {"lang": "en", "value": message}, "innererror": inner}})


def create_router(sets: list[EntitySet], token: str, settings: Settings) -> APIRouter:
    """Every entity set of the dialect, behind the token in any of its forms."""
    router = APIRouter(dependencies=[Depends(refused_unless(every_form_of(token), LOGON_PAGE))])
    for entity_set in sets:
        pages = _Pages(entity_set, settings)
        router.add_api_route(entity_set.path(settings.version), _endpoint(pages, settings), methods=["GET"])

    @router.get("/{path:path}")
    async def unknown(path: str) -> Response:
        segment = path.rpartition("/")[2]
        raise settings.refusal(404, "/IWBEP/CM_MGW_RT/020", f"Resource not found for segment '{segment}'.")

    return router


def _endpoint(pages: "_Pages", settings: Settings) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        base, query = str(request.url).partition("?")[0], request.url.query
        try:
            body = await run_in_threadpool(pages.answer, base, query)
        except QueryError as error:
            raise settings.refusal(400, "/IWBEP/CM_MGW_RT/021", f"{error}.") from error
        return Response(orjson.dumps(body), media_type="application/json")

    return answer


class _Pages:
    """The pages of one entity set."""

    def __init__(self, entity_set: EntitySet, settings: Settings) -> None:
        self._set = entity_set
        self._settings = settings
        self._traps = settings.traps.kinds
        self._shortened: set[str] = set()  # queries whose first row is gone, for the trap `deleted`

    def answer(self, url: str, query: str) -> Fields:
        """The page that a query string asks for. Raises `QueryError`."""
        options = options_of(query)
        options, query, offset = self._resume(options, query)
        rows = self._rows(options, is_next=offset > 0)
        size = self._settings.page_size
        names = selected(options.get("$select", ""), self._set.properties)
        page = rows[offset : offset + size]
        next_offset = offset + size - (OVERLAP if "overlap" in self._traps else 0)
        if "repeat" in self._traps and offset > 0:
            next_offset = offset
        link = self._link(url, query, next_offset) if offset + size < len(rows) else None
        return self._envelope(url, page, names, link, len(rows) if _wants_count(options) else None)

    def _rows(self, options: dict[str, str], *, is_next: bool) -> list[Row]:
        condition = parse_filter(options.get("$filter", ""), self._set.properties)
        rows = [row for row in self._set.rows(condition) if condition.matches(row)]
        if order := options.get("$orderby"):
            rows = ordered(rows, order, self._set.properties)
        skip, top = whole_number(options, "$skip") or 0, whole_number(options, "$top")
        rows = rows[skip : None if top is None else skip + top]
        if "deleted" in self._traps:
            known = options.get("$filter", "")
            if is_next:
                self._shortened.add(known)
            if known in self._shortened:
                rows = rows[1:]
        return rows

    def _resume(self, options: dict[str, str], query: str) -> tuple[dict[str, str], str, int]:
        """The options, the query string and the row at which the page begins."""
        token = options.pop("$skiptoken", None)
        if token is None:
            return options, query, 0
        rest = "&".join(part for part in query.split("&") if not part.startswith(("$skiptoken=", "%24skiptoken=")))
        if "no_filter" in self._traps:
            if rest:
                raise QueryError("$skiptoken stands for the whole query and allows no other option")
            offset, _, original = _opened(token).partition("|")
            return options_of(original), original, _offset(offset)
        prefix, suffix = _shape(self._traps)
        if not token.startswith(prefix) or not token.endswith(suffix):
            raise QueryError(f"Invalid value '{token}' of $skiptoken")
        return options, rest, _offset(token[len(prefix) : len(token) - len(suffix)])

    def _link(self, url: str, query: str, offset: int) -> str:
        if "no_filter" in self._traps:
            target = f"$skiptoken={base64.urlsafe_b64encode(f'{offset}|{query}'.encode()).decode()}"
        else:
            prefix, suffix = _shape(self._traps)
            target = f"{query}&$skiptoken={prefix}{offset}{suffix}".lstrip("&")
        if self._settings.version == 2:
            return f"{url}?{target}"
        return f"{quote(url.rpartition('/')[2])}?{target}"

    def _envelope(self, url: str, page: list[Row], names: list[str], link: str | None, total: int | None) -> Fields:
        if self._settings.version == 4:
            body: Fields = {"@odata.context": f"$metadata#{self._set.v4_name}"}
            body |= {} if total is None else {"@odata.count": total}
            body["value"] = [spelt_v4(row, names) for row in page]
            return body | ({} if link is None else {"@odata.nextLink": link})
        results = [{"__metadata": self._metadata(url, row), **spelt_v2(row, names)} for row in page]
        inner: Fields = {} if total is None else {"__count": str(total)}
        return {"d": inner | {"results": results} | ({} if link is None else {"__next": link})}

    def _metadata(self, url: str, row: Row) -> Fields:
        keys = ",".join(f"{name}='{row[name]}'" for name in self._set.key)
        return {"id": f"{url}({keys})", "type": f"API_{self._set.service.upper()}.{self._set.v2_name}Type"}


def _shape(traps: frozenset[str]) -> tuple[str, str]:
    """What stands around the number in a token."""
    if "plus" in traps:
        return "row+", "+of+it"
    return ("'", "','N''1'") if "quotes" in traps else ("", "")


def _wants_count(options: dict[str, str]) -> bool:
    return options.get("$inlinecount") == "allpages" or options.get("$count") == "true"


def _opened(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise QueryError(f"Invalid value '{token}' of $skiptoken") from error


def _offset(text: str) -> int:
    if not text.isdecimal():
        raise QueryError(f"Invalid value '{text}' of $skiptoken")
    return int(text)
