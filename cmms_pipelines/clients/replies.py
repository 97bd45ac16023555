"""What an HTTP reply means: decoded JSON, an error worth another attempt, or one that is not. No I/O, no retries."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
import orjson

from cmms_pipelines.clients.envelope import Json
from cmms_pipelines.domain.errors import PermanentError, TransientError

SHOWN_BYTES = 120
LOOKED_AT_BYTES = SHOWN_BYTES * 40  # a secret may begin before the border of what is shown
Scrub = Callable[[str], str]


class RefusedError(PermanentError):
    """An answer that another attempt will not change; `status` says which."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class UnreliableReplyError(TransientError):
    """An answer that another attempt may change; `retry_after_s` is what the source asks to wait, if it does."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Came:
    """What came, as far as messages tell it.

    Attributes:
        status: of HTTP.
        content_type: without its parameters; empty where the source said none.
        retry_after_s: what the source asks to wait, if it does.
        text: the request, the status, the content type and the first bytes, without secrets.
    """

    status: int
    content_type: str
    retry_after_s: float | None
    text: str


def came(response: httpx.Response, beginning: bytes, what: str, scrub: Scrub, now: dt.datetime) -> Came:
    """Describe a reply. `what` names the request, `beginning` is its body or how it begins, `scrub` takes secrets out."""
    status = response.status_code
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    text = f"{what}: status {status}, {content_type or 'no content type'}, {_quoted(beginning, scrub)}"
    return Came(status, content_type, retry_after_s(response.headers.get("retry-after"), now), text)


def is_json(response: httpx.Response) -> bool:
    """Tell whether the headers promise what may be data; the body is then still to be looked at."""
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return 200 <= response.status_code < 300 and _is_json(content_type)


def refuse_unless_json(reply: Came, *, is_empty: bool) -> None:
    """Accept a reply with JSON in it, or seemingly so.

    Raises `UnreliableReplyError` for 408, 429, 5xx, HTML under 200 (login and maintenance pages) and empty bodies;
    `RefusedError` for every other status and content type. None of them ever passes as a reply without records.
    """
    status = reply.status
    if status in (408, 429) or status >= 500:
        advice = "the source asks for fewer requests" if status == 429 else "the source is in trouble"
        raise UnreliableReplyError(f"{reply.text}; {advice}", reply.retry_after_s)
    if status in (401, 403):
        raise RefusedError(f"{reply.text}; check CMMS_API_TOKEN and CMMS_API_AUTH", status)
    if not 200 <= status < 300:
        advice = "check CMMS_API_URL and CMMS_API_DIALECT" if status in (404, 405) or status < 400 else "see the message"
        raise RefusedError(f"{reply.text}; {advice}", status)
    if is_empty:
        raise UnreliableReplyError(f"{reply.text}; an empty reply is not a reply without records")
    if "html" in reply.content_type:
        raise UnreliableReplyError(
            f"{reply.text}; a page in place of data, as login and maintenance pages are: check CMMS_API_URL"
        )
    if not _is_json(reply.content_type):
        raise RefusedError(f"{reply.text}; JSON was expected: check CMMS_API_URL and CMMS_API_DIALECT", status)


def broken(reply: Came, reason: str) -> UnreliableReplyError:
    """Return the error of a body that was cut or is no JSON."""
    return UnreliableReplyError(f"{reply.text}; cut or broken JSON ({reason})")


def interrupted(reply: Came, reason: str) -> UnreliableReplyError:
    """Return the error of a body that did not come to its end, or came damaged."""
    return UnreliableReplyError(f"{reply.text}; cut off or damaged on its way ({reason})")


def decode(response: httpx.Response, what: str, scrub: Scrub, now: dt.datetime) -> Json:
    """The JSON of a successful reply that has been read; raises as `refuse_unless_json` does, and for a broken body."""
    reply = came(response, response.content, what, scrub, now)
    refuse_unless_json(reply, is_empty=not response.content)
    try:
        decoded: Json = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise broken(reply, f"{error.msg} at character {error.pos}") from error
    return decoded


def retry_after_s(header: str | None, now: dt.datetime) -> float | None:
    """Seconds to wait by a Retry-After header, given in seconds or as an HTTP date; None without a usable one."""
    text = (header or "").strip()
    if text.isdecimal() and text.isascii():
        return float(text)
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:  # "-0000": UTC without a zone
        when = when.replace(tzinfo=dt.UTC)
    return max(0.0, (when - now).total_seconds())


def _is_json(content_type: str) -> bool:
    return content_type in ("application/json", "text/json") or content_type.endswith("+json")


def _quoted(body: bytes, scrub: Scrub) -> str:
    if not body:
        return "empty body"
    # Scrubbed before it is cut: a secret that straddles the cut would otherwise show in part.
    return repr(scrub(body[:LOOKED_AT_BYTES].decode("utf-8", "replace"))[:SHOWN_BYTES])
