"""The envelopes in which sources wrap their records (quirk 38)."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from cmms_pipelines.domain.errors import PermanentError

Json: TypeAlias = Mapping[str, Any] | list[Any] | str | int | float | bool | None
Record: TypeAlias = dict[str, Any]


def records_and_next(body: Json) -> tuple[list[Record], str | None]:
    """The records of a reply and the link to its next page.

    Knows `{"data": [..]}`, a bare list, `null`, `{"d": {"results": [..], "__next": ..}}`, `{"d": [..]}` and
    `{"value": [..], "@odata.nextLink": ..}`. Raises `PermanentError` for anything else: a reply that nobody understands is
    not a reply without records.
    """
    if body is None:
        return [], None
    if isinstance(body, list):
        return _records(body), None
    if isinstance(body, Mapping):
        match body:
            case {"data": list(rows)}:
                return _records(rows), None
            case {"d": {"results": list(rows)}}:
                return _records(rows), _link(body["d"].get("__next"))
            case {"d": list(rows)}:
                return _records(rows), None
            case {"value": list(rows)}:
                return _records(rows), _link(body.get("@odata.nextLink"))
    raise PermanentError(f"the reply is in no known envelope: {_description(body)}")


def total_of(body: Json) -> int | None:
    """The number of all rows of a paged list, where the server tells it (`__count`, `@odata.count`)."""
    if not isinstance(body, Mapping):
        return None
    inner = body.get("d")
    counted = inner.get("__count") if isinstance(inner, Mapping) else body.get("@odata.count")
    text = str(counted)
    return int(text) if text.isascii() and text.isdecimal() else None


def _records(rows: list[Any]) -> list[Record]:
    for position, row in enumerate(rows):
        if not isinstance(row, dict):
            raise PermanentError(f"record {position} of the reply is no object but {_description(row)}")
    return rows


def _link(link: Json) -> str | None:
    if link is None or isinstance(link, str):
        return link or None
    raise PermanentError(f"the link to the next page is no text but {_description(link)}")


def _description(body: Json) -> str:
    """What came, by its shape; values may be anything, keys help to see what it was."""
    if isinstance(body, Mapping):
        keys = ", ".join(f"{key!r}: {type(value).__name__}" for key, value in list(body.items())[:8])
        return f"an object {{{keys}}}"
    return f"{type(body).__name__} {str(body)[:60]!r}"
