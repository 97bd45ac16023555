"""Probes of a connection, from the name to the first answer, each told apart from the next.

What belongs here: what can be learnt about an address without knowing what it serves, as `Finding`s. What does not: which
endpoints a source has and what its records mean (`sync.api_check`).
"""

import datetime as dt
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.request import getproxies, proxy_bypass

import httpx

from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.replies import RefusedError, UnreliableReplyError, decode


@dataclass(frozen=True)
class Finding:
    """What one probe found: `advice` is for the operator, None where all is well."""

    is_well: bool
    detail: str
    advice: str | None = None
    duration_ms: float | None = None


@dataclass(frozen=True)
class Answer:
    """A first answer over HTTP: `status` is None where there was none, `clock_offset_s` is the source's clock minus ours."""

    finding: Finding
    status: int | None = None
    clock_offset_s: float | None = None


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy through which requests to this address go, by the environment; its credentials are left out."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy is None or proxy_bypass(url.host):
        return None
    parsed = httpx.URL(proxy if "//" in proxy else f"http://{proxy}")
    return f"{parsed.host}:{parsed.port or 80}"


def find_host(url: httpx.URL) -> Finding:
    """Look the host's name up."""
    started = time.perf_counter()
    try:
        found = socket.getaddrinfo(url.host, _port(url), type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(
            is_well=False,
            detail=f"there is no address for {url.host} ({error.strerror or error})",
            advice="Check the host in CMMS_API_URL, and that this machine uses the DNS (or VPN) that knows it.",
        )
    addresses = sorted({str(entry[4][0]) for entry in found})
    return Finding(is_well=True, detail=f"{url.host} is {', '.join(addresses)}", duration_ms=_since(started))


def reach(url: httpx.URL, timeout_s: float) -> Finding:
    """Open a TCP connection."""
    where, started = f"{url.host}:{_port(url)}", time.perf_counter()
    try:
        with socket.create_connection((url.host, _port(url)), timeout=timeout_s):
            return Finding(is_well=True, detail=f"{where} accepts connections", duration_ms=_since(started))
    except TimeoutError:
        return Finding(
            is_well=False,
            detail=f"{where} does not answer within {timeout_s:g} s",
            advice="A firewall or a missing VPN swallows the packets, or the host is down: ask the network's operators.",
        )
    except ConnectionRefusedError:
        return Finding(
            is_well=False,
            detail=f"{where} refuses the connection",
            advice="Nothing listens there: check the port in CMMS_API_URL and that the source is up.",
        )
    except OSError as error:
        return Finding(
            is_well=False,
            detail=f"{where} cannot be reached ({error.strerror or error})",
            advice="Check CMMS_API_URL and this machine's network.",
        )


def shake_hands(url: httpx.URL, timeout_s: float, now: dt.datetime) -> Finding:
    """Open a TLS connection and look at the certificate."""
    started = time.perf_counter()
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((url.host, _port(url)), timeout=timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=url.host) as secured,
        ):
            certificate, version = secured.getpeercert() or {}, secured.version()
    except ssl.SSLCertVerificationError as error:
        return Finding(
            is_well=False,
            detail=f"the certificate of {url.host} is not trusted: {error.verify_message}",
            advice="Check the host's name in CMMS_API_URL; a certificate of a private authority belongs into SSL_CERT_FILE.",
        )
    except OSError as error:
        return Finding(
            is_well=False,
            detail=f"no TLS with {url.host}:{_port(url)} ({getattr(error, 'reason', None) or error.strerror or error})",
            advice="Check the port in CMMS_API_URL, and whether the source speaks http:// there.",
        )
    expires = certificate.get("notAfter")
    days = (ssl.cert_time_to_seconds(str(expires)) - now.timestamp()) / 86_400 if expires else None
    until = "" if days is None else f", certificate good for {days:.0f} days"
    return Finding(is_well=True, detail=f"{version}{until}", duration_ms=_since(started))


def ask(url: httpx.URL, credentials: Credentials, endpoint: str, timeout_s: float, now: Callable[[], dt.datetime]) -> Answer:
    """Send one GET with the credentials, no second attempt, and say what the answer is."""
    what, started, sent_at = f"GET {endpoint.partition('?')[0]}", time.perf_counter(), now()
    try:
        with httpx.Client(headers={"Accept": "application/json", **credentials.headers()}, timeout=timeout_s) as http:
            response = http.get(url.join(endpoint))
    except httpx.TimeoutException:
        return Answer(
            Finding(
                is_well=False,
                detail=f"{what}: no answer within {timeout_s:g} s",
                advice="The source accepts connections and does not answer: it is overloaded, or needs a longer --timeout.",
            )
        )
    except httpx.HTTPError as error:
        return Answer(
            Finding(
                is_well=False,
                detail=credentials.scrub(f"{what}: the connection broke ({type(error).__name__}: {error})"),
                advice="Check that CMMS_API_URL speaks HTTP, and whether a proxy stands in between.",
            )
        )
    received_at, duration_ms = now(), _since(started)
    offset = _clock_offset_s(response.headers.get("date"), sent_at, received_at)
    finding = _judged(response, what, credentials, received_at, duration_ms)
    return Answer(finding, response.status_code, offset)


def _judged(response: httpx.Response, what: str, credentials: Credentials, now: dt.datetime, duration_ms: float) -> Finding:
    try:
        decode(response, what, credentials.scrub, now)
    except RefusedError as error:
        return Finding(is_well=False, detail=str(error), advice=advice_for(error.status), duration_ms=duration_ms)
    except UnreliableReplyError as error:
        return Finding(is_well=False, detail=str(error), advice=advice_for(response.status_code), duration_ms=duration_ms)
    return Finding(is_well=True, detail=f"{what}: status {response.status_code}", duration_ms=duration_ms)


_ADVICE = {
    200: "Something else answers, such as a login page or a proxy: check CMMS_API_URL and how to log in.",
    401: "The source does not accept the credentials: check CMMS_API_TOKEN and CMMS_API_AUTH (raw, bearer, basic).",
    403: "The credentials are known and lack the right to read this: ask the source's operators for it.",
    404: "The address answers and has no such endpoint: check the path in CMMS_API_URL and CMMS_API_DIALECT.",
    405: "The address answers and has no such endpoint: check the path in CMMS_API_URL and CMMS_API_DIALECT.",
    429: "The source asks for fewer requests: lower CMMS_API_REQUESTS_PER_S or CMMS_API_MAX_IN_FLIGHT, try later.",
}


def advice_for(status: int | None) -> str:
    """What an operator can do about an answer with this status; None stands for no answer."""
    if status is None:
        return "No answer came: check that the source is up, and whether it needs longer than --timeout."
    if status >= 500:
        return "The source, or a gateway before it, is in trouble: tell its operators, try later."
    if 300 <= status < 400:
        return "The address only redirects: put the address that it leads to into CMMS_API_URL."
    return _ADVICE.get(status, "The source does not understand the request: see its message, check CMMS_API_DIALECT.")


def _clock_offset_s(header: str | None, sent_at: dt.datetime, received_at: dt.datetime) -> float | None:
    """The source's clock minus ours in the middle of the request; whole seconds, as the header has."""
    try:
        said = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    said = said if said.tzinfo else said.replace(tzinfo=dt.UTC)
    return (said - (sent_at + (received_at - sent_at) / 2)).total_seconds()


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
