"""One source over HTTP: authentication, retries, the rate budget, and a record of every request.

What belongs here: how a request is made to succeed. What does not: what a reply means (`replies`), which requests there
are (one file per dialect), and what a record means (`domain`).
"""

import contextlib
import datetime as dt
import socket
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import httpx
import stamina

from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.beginning import Beginning
from cmms_pipelines.clients.budget import RateBudget
from cmms_pipelines.clients.envelope import Json, Record, records_and_next, total_of
from cmms_pipelines.clients.replies import (
    LOOKED_AT_BYTES,
    UnreliableReplyError,
    broken,
    came,
    decode,
    interrupted,
    is_json,
    refuse_unless_json,
)
from cmms_pipelines.clients.spool import BrokenReplyError, RecordSpool
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.errors import CmmsError, PermanentError, TransientError

T = TypeVar("T")
B = TypeVar("B")
Receive: TypeAlias = Callable[[httpx.Response, str], B]  # reads a body; the text names the request in messages


@dataclass(frozen=True)
class Timeouts:
    """Seconds. Some sources think for minutes before their first byte, hence the long read."""

    connect_s: float = 10.0
    read_s: float = 300.0


@dataclass(frozen=True)
class Retries:
    """Exponential waits with jitter, at most `attempts` of them, none begun after `within_s` seconds.

    A Retry-After of the source replaces the wait, capped at `retry_after_max_s`, and holds for all threads.
    """

    attempts: int = 8
    within_s: float | None = 900.0
    wait_initial_s: float = 0.5
    wait_max_s: float = 30.0
    wait_jitter_s: float = 1.0
    retry_after_max_s: float = 120.0


class Page(NamedTuple):
    """Records as the source sent them, the link to the next page, and the count of all rows, where there is one."""

    records: list[Record]
    next_link: str | None
    total: int | None = None


@dataclass
class _Progress:
    attempts: int = 0
    status: int | None = None
    bytes_received: int = 0
    rows: int = 0


def utc_now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def forget(_call: ApiCall) -> None:
    """Records nothing."""


class Transport:
    """Safe to share between threads: one pool of kept-alive connections, one budget."""

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        timeouts: Timeouts = Timeouts(),
        retries: Retries = Retries(),
        max_in_flight: int = 4,
        requests_per_s: float | None = None,
        on_call: Callable[[ApiCall], None] = forget,
        now: Callable[[], dt.datetime] = utc_now,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`url` is the base of all endpoints; `on_call` gets one `ApiCall` per request, from the thread that made it.

        `now` dates the calls and reads Retry-After dates; `clock` and `sleep` serve the budget. Raises `PermanentError` for a
        URL that is none.
        """
        self._url = _base_url(url)
        self._credentials = credentials
        self._retries = retries
        self._budget = RateBudget(max_in_flight, requests_per_s, clock, sleep)
        self._on_call = on_call
        self._now = now
        self._clock = clock
        self._is_closed = False
        self._connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._http = httpx.Client(
            headers={"Accept": "application/json", **credentials.headers()},
            timeout=httpx.Timeout(timeouts.read_s, connect=timeouts.connect_s, pool=None),
            limits=httpx.Limits(max_connections=max_in_flight, max_keepalive_connections=max_in_flight),
        )

    def __repr__(self) -> str:
        return f"Transport({str(self._url)!r}, {self._credentials!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the requests in flight, of whatever thread, and let go of all connections."""
        self._is_closed = True
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it may have ended by itself
                connection.shutdown(socket.SHUT_RDWR)  # closed alone, a thread that reads from it would wait for its timeout
        self._http.close()

    def get(self, endpoint: str, params: Mapping[str, str] | None = None, json_body: Mapping[str, Any] | None = None) -> Json:
        """The decoded reply to a GET, which may carry a JSON body (quirk 41).

        Raises `TransientError` when the attempts are used up, `PermanentError` (for an answer: `RefusedError`) at once.
        """
        return self._recorded(endpoint, params, json_body, self._read_whole, lambda body: (body, 0))

    def page(self, endpoint: str, params: Mapping[str, str] | None = None, json_body: Mapping[str, Any] | None = None) -> Page:
        """The records of the reply to a GET, whatever its envelope; raises as `get` does."""

        def unwrap(body: Json) -> tuple[Page, int]:
            try:
                page = Page(*records_and_next(body), total_of(body))
            except PermanentError as error:
                message = self._credentials.scrub(f"{self._what(endpoint)}: {error}; check CMMS_API_DIALECT")
                raise PermanentError(message) from None  # the cause quotes keys of the reply unscrubbed
            return page, len(page.records)

        return self._recorded(endpoint, params, json_body, self._read_whole, unwrap)

    def spool(
        self, endpoint: str, params: Mapping[str, str] | None = None, json_body: Mapping[str, Any] | None = None
    ) -> RecordSpool:
        """The records of the reply to a GET, however large, in a file that the caller closes; raises as `get` does.

        The reply is checked from its first to its last byte before this returns; one that was cut is asked for again.
        """
        return self._recorded(endpoint, params, json_body, self._read_into_spool, lambda spool: (spool, len(spool)))

    def _recorded(
        self,
        endpoint: str,
        params: Mapping[str, str] | None,
        json_body: Mapping[str, Any] | None,
        receive: Receive[B],
        read: Callable[[B], tuple[T, int]],
    ) -> T:
        request = self._request(endpoint, params, json_body)
        progress = _Progress()
        started_at, start = self._now(), self._clock()
        error: str | None = None
        try:
            result, progress.rows = read(self._retried(request, self._what(endpoint), receive, progress))
        except CmmsError as failure:
            error = str(failure)
            raise
        finally:
            self._on_call(
                ApiCall(
                    endpoint=endpoint.partition("?")[0],
                    method=request.method,
                    status=progress.status,
                    attempts=progress.attempts,
                    duration_ms=(self._clock() - start) * 1000,
                    bytes_received=progress.bytes_received,
                    rows=progress.rows,
                    error=error,
                    started_at=started_at,
                )
            )
        return result

    def _retried(self, request: httpx.Request, what: str, receive: Receive[B], progress: _Progress) -> B:
        attempts = stamina.retry_context(
            on=self._wait_before_retry,
            attempts=self._retries.attempts,
            timeout=self._retries.within_s,
            wait_initial=self._retries.wait_initial_s,
            wait_max=self._retries.wait_max_s,
            wait_jitter=self._retries.wait_jitter_s,
        )
        try:
            for attempt in attempts:
                with attempt, self._budget.slot():
                    progress.attempts += 1
                    return self._attempt(request, what, receive, progress)
        except TransientError as error:
            raise TransientError(f"{error} ({progress.attempts} attempts)") from error
        raise AssertionError("stamina ends with a result or an error")

    def _wait_before_retry(self, error: Exception) -> bool | float:
        """stamina's hook: False to give up, True for its own wait, seconds for another one."""
        if self._is_closed:
            return False
        if isinstance(error, UnreliableReplyError) and error.retry_after_s:
            self._budget.pause(min(error.retry_after_s, self._retries.retry_after_max_s))
            return 0.0  # the next attempt waits in the budget, as all others do
        return isinstance(error, TransientError)

    def _attempt(self, request: httpx.Request, what: str, receive: Receive[B], progress: _Progress) -> B:
        progress.status = None
        try:
            response = self._http.send(request, stream=True)
            progress.status = response.status_code
            beginning = Beginning(response)
            try:
                return receive(response, what)
            except (httpx.TransportError, httpx.DecodingError) as error:
                reply = came(response, beginning.read(), what, self._credentials.scrub, self._now())
                raise interrupted(reply, self._reason(error)) from error
            finally:
                progress.bytes_received += response.num_bytes_downloaded
                response.close()
        except httpx.LocalProtocolError:
            raise PermanentError(f"{what}: the request cannot be sent") from None  # the cause may quote the header
        except httpx.TimeoutException as error:
            raise TransientError(
                f"{what}: no answer in time ({type(error).__name__}); check that CMMS_API_URL can be reached"
            ) from error
        except httpx.TransportError as error:
            raise TransientError(
                f"{what}: the connection failed ({self._reason(error)}); check CMMS_API_URL and that the source is up"
            ) from error

    def _reason(self, error: httpx.HTTPError) -> str:
        return self._credentials.scrub(f"{type(error).__name__}: {error}")

    def _read_whole(self, response: httpx.Response, what: str) -> Json:
        response.read()
        return decode(response, what, self._credentials.scrub, self._now())

    def _read_into_spool(self, response: httpx.Response, what: str) -> RecordSpool:
        if not is_json(response):
            self._read_whole(response, what)
            raise AssertionError("what is no JSON is refused")
        beginning = bytearray()

        def parts() -> Iterator[bytes]:
            for part in response.iter_bytes():
                if len(beginning) < LOOKED_AT_BYTES:
                    beginning.extend(part[:LOOKED_AT_BYTES])
                yield part

        try:
            return RecordSpool.of_reply(parts())
        except BrokenReplyError as error:
            reply = came(response, bytes(beginning), what, self._credentials.scrub, self._now())
            refuse_unless_json(reply, is_empty=not beginning)
            raise broken(reply, str(error)) from error
        except PermanentError as error:
            message = self._credentials.scrub(f"{what}: {error}; check CMMS_API_DIALECT")
            raise PermanentError(message) from None  # the cause quotes the reply unscrubbed

    def _request(self, endpoint: str, params: Mapping[str, str] | None, json_body: Mapping[str, Any] | None) -> httpx.Request:
        url = self._url.join(endpoint)
        if (url.scheme, url.host, url.port) != (self._url.scheme, self._url.host, self._url.port):
            raise PermanentError(f"{self._what(endpoint)}: leads to {url.host}, which must not get this token")
        extensions = {"trace": self._note_connection}
        return self._http.build_request("GET", url, params=params or None, json=json_body, extensions=extensions)

    def _note_connection(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember each new connection; httpcore tells what it does."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._connections.add(info["return_value"].get_extra_info("socket"))

    def _what(self, endpoint: str) -> str:
        return self._credentials.scrub(f"GET {endpoint.partition('?')[0]} of {self._url}")


def _base_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url.strip().rstrip("/") + "/")
    except httpx.InvalidURL as error:
        raise PermanentError(f"CMMS_API_URL is no URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise PermanentError("CMMS_API_URL must begin with http:// or https:// and name a host")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise PermanentError("CMMS_API_URL must be a base address alone: credentials belong into CMMS_API_TOKEN")
    return parsed
