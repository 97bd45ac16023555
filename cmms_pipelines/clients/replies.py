"""What an HTTP reply means: decoded JSON, an error worth another attempt, or one that is not. No I/O, no retries."""

import datetime as dt
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import httpx
import orjson

from cmms_pipelines.clients.envelope import Json
from cmms_pipelines.domain.errors import PermanentError, TransientError

SHOWN_BYTES = 120
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


def decode(response: httpx.Response, what: str, scrub: Scrub, now: dt.datetime) -> Json:
    """The JSON of a successful reply. `what` names the request in messages, `scrub` takes secrets out of quoted bodies.

    Raises `UnreliableReplyError` for 408, 429, 5xx, HTML under 200 (login and maintenance pages), empty and cut bodies;
    `RefusedError` for every other status and content type. None of them ever passes as a reply without records.
    """
    status = response.status_code
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    came = f"{what}: status {status}, {content_type or 'no content type'}, {_quoted(response.content, scrub)}"
    if status in (408, 429) or status >= 500:
        advice = "the source asks for fewer requests" if status == 429 else "the source is in trouble"
        raise UnreliableReplyError(f"{came}; {advice}", retry_after_s(response.headers.get("retry-after"), now))
    if status in (401, 403):
        raise RefusedError(f"{came}; check CMMS_API_TOKEN and CMMS_API_AUTH", status)
    if not 200 <= status < 300:
        advice = "check CMMS_API_URL and CMMS_API_DIALECT" if status in (404, 405) or status < 400 else "see the message"
        raise RefusedError(f"{came}; {advice}", status)
    if not response.content:
        raise UnreliableReplyError(f"{came}; an empty reply is not a reply without records")
    if "html" in content_type:
        raise UnreliableReplyError(f"{came}; a page in place of data, as login and maintenance pages are: check CMMS_API_URL")
    if content_type not in ("application/json", "text/json") and not content_type.endswith("+json"):
        raise RefusedError(f"{came}; JSON was expected: check CMMS_API_URL and CMMS_API_DIALECT", status)
    try:
        decoded: Json = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise UnreliableReplyError(f"{came}; cut or broken JSON ({error.msg} at character {error.pos})") from error
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


def _quoted(body: bytes, scrub: Scrub) -> str:
    if not body:
        return "empty body"
    # Scrubbed before it is cut: a secret that straddles the cut would otherwise show in part.
    return repr(scrub(body[: SHOWN_BYTES * 40].decode("utf-8", "replace"))[:SHOWN_BYTES])
