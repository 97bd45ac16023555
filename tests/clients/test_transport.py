"""Retries, refusals and secrets, against a real server that answers as told."""

import base64
import datetime as dt
import gzip
import json
import logging
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import Response

from cmms_pipelines.clients.authentication import Credentials
from cmms_pipelines.clients.replies import RefusedError, retry_after_s
from cmms_pipelines.clients.transport import Page, Retries, Timeouts, Transport
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.errors import CmmsError, PermanentError, TransientError
from cmms_pipelines.emulator.server import base_url, listen
from tests.clients.scripted_source import cut_reply, reply, scripted_source

TOKEN = "s3cr3t-t0ken-value"
QUICK = Retries(attempts=3, wait_initial_s=0.001, wait_max_s=0.002, wait_jitter_s=0)
NOW = dt.datetime(2026, 3, 15, 12, tzinfo=dt.UTC)
HTML = "<!doctype html><title>Server Error</title>"


class FakeTime:
    """The budget's clock; pauses are noted instead of slept."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.sleeps: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now_s += seconds


def transport(url: str, calls: list[ApiCall] | None = None, time: FakeTime | None = None, **options: object) -> Transport:
    time = time or FakeTime()
    defaults: dict[str, object] = {
        "retries": QUICK,
        "timeouts": Timeouts(read_s=5),
        "on_call": (calls if calls is not None else []).append,
        "now": lambda: NOW,
        "clock": time.clock,
        "sleep": time.sleep,
    }
    return Transport(url, Credentials(TOKEN, "raw"), **(defaults | options))  # type: ignore[arg-type]


def outcome(*replies: Response) -> tuple[CmmsError, ApiCall]:
    """How a request ends that cannot succeed."""
    calls: list[ApiCall] = []
    with scripted_source(*replies) as source, transport(source.url, calls) as client:
        with pytest.raises(CmmsError) as failure:
            client.page("equipments", {"start_date": "2013-10-28"})
        assert len(source.seen) == calls[0].attempts
    (call,) = calls
    assert call.error == str(failure.value)
    assert call.rows == 0
    assert "GET equipments of http://127.0.0.1:" in str(failure.value)
    assert TOKEN not in str(failure.value)
    return failure.value, call


@pytest.mark.parametrize(
    "bad",
    [
        reply(HTML, 408, "text/html"),
        reply(HTML, 500, "text/html"),
        reply(HTML, 502, "text/html"),
        reply('{"message":"busy"}', 503),
        reply("<form>login</form>", 200, "text/html; charset=UTF-8"),
        reply('{"data":[{"EQUNR":"N5', 200),
        reply(b"", 200),
        reply(b"", 204),
        reply("Too many", 429, "text/plain"),
    ],
)
def test_a_passing_trouble_is_retried_until_it_has_passed(bad: Response) -> None:
    calls: list[ApiCall] = []
    with scripted_source(bad, bad, reply('{"data":[{"EQUNR":"N526JB"}]}')) as source, transport(source.url, calls) as client:
        assert client.page("equipments").records == [{"EQUNR": "N526JB"}]
    assert [(call.attempts, call.status, call.rows, call.error) for call in calls] == [(3, 200, 1, None)]


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        (reply(HTML, 500, "text/html"), ["status 500", "text/html", "Server Error", "in trouble"]),
        (reply('{"message":"Too Many Attempts."}', 429), ["status 429", "Too Many Attempts", "fewer requests"]),
        (reply("<form>login</form>", 200, "text/html"), ["status 200", "text/html", "<form>login", "login", "CMMS_API_URL"]),
        (reply('{"data":[{"EQ', 200), ["status 200", "application/json", '{"data":[{"EQ', "cut or broken JSON"]),
        (reply(b"", 200), ["status 200", "empty body", "not a reply without records"]),
    ],
)
def test_a_trouble_that_stays_ends_as_a_transient_error_that_says_what_came(bad: Response, parts: list[str]) -> None:
    error, call = outcome(bad)
    assert isinstance(error, TransientError)
    assert call.attempts == QUICK.attempts
    assert all(part in str(error) for part in [*parts, "(3 attempts)"]), str(error)


@pytest.mark.parametrize(
    ("bad", "parts"),
    [
        (reply('{"message":"Unauthenticated."}', 401), ["status 401", "CMMS_API_TOKEN", "CMMS_API_AUTH", "Unauthenticated."]),
        (reply("no", 403, "text/plain"), ["status 403", "CMMS_API_TOKEN"]),
        (reply("{}", 404), ["status 404", "CMMS_API_URL"]),
        (reply('{"errors":{"start_date":["bad"]}}', 422), ["status 422", '"start_date":["bad"]']),
        (reply("{}", 302, Location="/login"), ["status 302", "CMMS_API_URL"]),
        (reply("a;b\n1;2", 200, "text/csv"), ["status 200", "text/csv", "a;b", "JSON was expected"]),
        (reply("<feed/>", 200, "application/atom+xml"), ["application/atom+xml", "JSON was expected"]),
        (reply("{}", 200, ""), ["status 200", "no content type"]),
        (reply('{"rows":[]}', 200), ["no known envelope", "'rows': list", "CMMS_API_DIALECT"]),
    ],
)
def test_a_refusal_is_permanent_and_is_not_retried(bad: Response, parts: list[str]) -> None:
    error, call = outcome(bad)
    assert isinstance(error, PermanentError)
    assert call.attempts == 1
    assert all(part in str(error) for part in parts), str(error)


def test_a_refusal_knows_its_status() -> None:
    error, _call = outcome(reply("{}", 418))
    assert isinstance(error, RefusedError)
    assert error.status == 418


def test_only_the_beginning_of_a_body_is_quoted() -> None:
    error, _call = outcome(reply("x" * 10_000, 400, "text/plain"))
    assert "x" * 120 in str(error)
    assert "x" * 121 not in str(error)


def test_a_server_that_is_down_is_retried_and_named() -> None:
    calls: list[ApiCall] = []
    with listen("127.0.0.1", 0) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with transport(url, calls) as client, pytest.raises(TransientError, match="ConnectError") as failure:
        client.get("plants")
    assert "check CMMS_API_URL" in str(failure.value)
    assert [(call.attempts, call.status) for call in calls] == [(3, None)]


def test_a_server_that_never_answers_runs_into_the_time_out() -> None:
    with (
        listen("127.0.0.1", 0) as silent,
        transport(f"http://127.0.0.1:{silent.getsockname()[1]}", timeouts=Timeouts(read_s=0.05)) as client,
        pytest.raises(TransientError, match=r"no answer in time \(ReadTimeout\).*\(3 attempts\)"),
    ):
        client.get("plants")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("Sun, 15 Mar 2026 12:00:42 GMT", 42.0),
        ("Sun, 15 Mar 2026 12:00:42 -0000", 42.0),
        ("Sun, 15 Mar 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_s(header, NOW) == seconds


@pytest.mark.parametrize(
    ("header", "pause_s"),
    [("7", 7.0), ("Sun, 15 Mar 2026 12:00:42 GMT", 42.0), ("86400", 120.0)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_pause_that_a_source_asks_for_is_kept_but_capped(header: str, pause_s: float, status: int) -> None:
    time = FakeTime()
    with scripted_source(reply("{}", status, Retry_After=header), reply()) as source, transport(source.url, time=time) as client:
        assert client.page("plants").records == []
    assert time.sleeps == [pause_s]


def test_a_source_that_names_no_pause_gets_the_usual_one() -> None:
    time = FakeTime()
    with scripted_source(reply("{}", 503), reply("{}", 503, Retry_After="0"), reply()) as source:
        transport(source.url, time=time).get("plants")
    assert time.sleeps == []


def test_retries_end_in_time() -> None:
    retries = Retries(attempts=100, within_s=1, wait_initial_s=0.1, wait_max_s=0.1, wait_jitter_s=0)
    with scripted_source(reply("{}", 503)) as source, transport(source.url, retries=retries) as client:
        with pytest.raises(TransientError):
            client.get("plants")
        assert 1 < len(source.seen) < 20


@pytest.mark.parametrize(
    ("mode", "token", "header"),
    [
        ("raw", TOKEN, TOKEN),
        ("bearer", TOKEN, f"Bearer {TOKEN}"),
        ("basic", "user:pässword", "Basic " + base64.b64encode("user:pässword".encode()).decode()),
    ],
)
def test_each_way_to_send_the_token(mode: str, token: str, header: str) -> None:
    with scripted_source(reply()) as source, Transport(source.url, Credentials(f" {token}\n", mode)) as client:
        client.get("plants")
    assert source.seen[0].headers["authorization"] == header


@pytest.mark.parametrize(
    ("token", "mode", "message"),
    [
        ("", "raw", "CMMS_API_TOKEN"),
        ("  ", "bearer", "CMMS_API_TOKEN"),
        ("user", "basic", "user:password"),
        ("s3cr3t\x00", "raw", "no HTTP header can carry"),
        ("s3cr3té", "bearer", "no HTTP header can carry"),
        ("s3cr3t", "digest", "CMMS_API_AUTH is 'digest'"),
    ],
)
def test_a_token_that_cannot_be_sent_is_refused_without_showing_it(token: str, mode: str, message: str) -> None:
    with pytest.raises(PermanentError, match=message) as refusal:
        Credentials(token, mode)
    assert "s3cr3t" not in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    ["", "localhost:8080", "ftp://host", "http://", "http://user:s3cr3t@host", "http://host?key=s3cr3t", "http://[::1"],
)
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(PermanentError, match="CMMS_API_URL") as refusal:
        Transport(url, Credentials(TOKEN, "raw"))
    assert "s3cr3t" not in str(refusal.value)


@pytest.mark.parametrize("mode", ["raw", "bearer", "basic"])
def test_the_token_never_shows(mode: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    """Not in errors when the source echoes it, not in logs of any level, not in what is recorded."""
    caplog.set_level(logging.DEBUG)
    password = secrets.token_hex(8)  # not a literal: tracebacks quote the lines of this test
    token = f"operator:{password}"
    encoded = base64.b64encode(token.encode()).decode()
    page = f"{'y' * 80} got {token} and {encoded}" + (f" and {password}" if mode == "basic" else "")
    echoes = [reply(page, 500, "text/plain")] * 3 + [reply(page, 401), reply(f'{{"{token}":1}}')]
    calls: list[ApiCall] = []
    shown: list[str] = []
    credentials = Credentials(token, mode)
    with (
        scripted_source(*echoes) as source,
        Transport(source.url, credentials, retries=QUICK, on_call=calls.append) as client,
    ):
        for _ in range(3):
            with pytest.raises(CmmsError) as failure:
                client.page("plants")
            shown += [str(failure.getrepr(style="long")), str(failure.value), repr(failure.value.__cause__)]
        shown += [repr(client), repr(credentials), str(calls)]
    logged = capsys.readouterr().out + caplog.text
    assert "status 500" in logged
    assert "got ***" in shown[1]
    assert [call.attempts for call in calls] == [3, 1, 1]
    for secret in (password, password[:8], encoded[:12]):
        assert not [text for text in (*shown, logged) if secret in text]


def test_the_token_goes_to_no_other_host() -> None:
    with (
        scripted_source(reply()) as source,
        transport(source.url + "/api/") as client,
        pytest.raises(PermanentError, match=r"leads to evil\.example, which must not get this token"),
    ):
        client.get("http://evil.example/plants")
    assert source.seen == []


def test_a_get_carries_its_query_and_its_json_body() -> None:
    with scripted_source(reply()) as source, transport(source.url + "/sap/api") as client:
        client.get("equipments/jam-jalan", {"start_date": "2013-10-28"}, {"plant": ["1F12"]})
        client.get(f"{source.url}/sap/api/Equipment?$skiptoken=1%2B2")
    first, second = source.seen
    assert (first.path, first.query, json.loads(first.body)) == (
        "sap/api/equipments/jam-jalan",
        "start_date=2013-10-28",
        {"plant": ["1F12"]},
    )
    assert "gzip" in first.headers["accept-encoding"]
    assert (second.path, second.query, second.body) == ("sap/api/Equipment", "$skiptoken=1%2B2", b"")


def test_a_call_is_recorded_with_its_measures() -> None:
    calls: list[ApiCall] = []
    time = FakeTime()
    body = '{"data":[{"a":1},{"a":2}]}'
    throttled = reply("{}", 429, Retry_After="2")
    with scripted_source(throttled, reply(body)) as source, transport(source.url, calls, time) as client:
        client.page("equipments?x=1")
    assert calls == [
        ApiCall(
            endpoint="equipments",
            method="GET",
            status=200,
            attempts=2,
            duration_ms=2_000.0,
            bytes_received=len(body) + len("{}"),
            rows=2,
            error=None,
            started_at=NOW,
        )
    ]


@pytest.mark.parametrize("read", [Transport.get, Transport.page])
def test_null_is_a_reply_without_records(read: Callable[[Transport, str], object]) -> None:
    with scripted_source(reply("null")) as source, transport(source.url) as client:
        assert read(client, "equipments") in (None, Page([], None))


@pytest.mark.parametrize(
    "cut",
    [
        reply('{"data":[{"EQUNR":"N526JB"},{"EQU', 200),
        reply('{"data":[{"EQUNR":"N526JB"}', 200),
        reply("<form>", 200, "text/html"),
    ],
)
def test_a_spooled_reply_that_was_cut_is_asked_for_again_as_a_whole(cut: Response) -> None:
    calls: list[ApiCall] = []
    whole = reply('{"data":[{"EQUNR":"N526JB"},{"EQUNR":"N347SW"}]}')
    with scripted_source(cut, cut, whole) as source, transport(source.url, calls) as client:
        assert list(client.spool("equipments")) == [{"EQUNR": "N526JB"}, {"EQUNR": "N347SW"}]
    assert [(call.attempts, call.status, call.rows, call.error) for call in calls] == [(3, 200, 2, None)]


@pytest.mark.parametrize(
    ("bad", "kind", "parts"),
    [
        (reply('{"data":[{"EQ', 200), TransientError, ["status 200", "application/json", '{"data":[{"EQ', "cut or broken JSON"]),
        (reply(b"", 200), TransientError, ["empty body", "not a reply without records"]),
        (reply("<form>login</form>", 200, "text/html"), TransientError, ["<form>login", "CMMS_API_URL"]),
        (reply(HTML, 503, "text/html"), TransientError, ["status 503", "in trouble"]),
        (reply("no", 403, "text/plain"), PermanentError, ["status 403", "CMMS_API_TOKEN"]),
        (reply("a;b", 200, "text/csv"), PermanentError, ["JSON was expected"]),
        (reply('{"rows":[]}', 200), PermanentError, ["no known envelope", "CMMS_API_DIALECT"]),
        (reply('[{"a":1},2]', 200), PermanentError, ["record 1 of the reply is no object", "CMMS_API_DIALECT"]),
    ],
)
def test_a_spooled_reply_that_cannot_be_used_says_what_came(bad: Response, kind: type[CmmsError], parts: list[str]) -> None:
    calls: list[ApiCall] = []
    with (
        scripted_source(bad) as source,
        transport(source.url, calls) as client,
        pytest.raises(kind, match="GET equipments") as failure,
    ):
        client.spool("equipments")
    assert all(part in str(failure.value) for part in parts), str(failure.value)
    assert calls[0].attempts == (QUICK.attempts if kind is TransientError else 1)


def test_what_a_spooled_reply_quotes_holds_no_secret() -> None:
    with (
        scripted_source(reply(f'{{"data":[{{"token":"{TOKEN}"')) as source,
        transport(source.url) as client,
        pytest.raises(TransientError) as failure,
    ):
        client.spool("equipments")
    assert "***" in str(failure.value)
    assert TOKEN not in str(failure.value)


@pytest.mark.parametrize("damage", [0, 9, -400])
def test_a_compressed_reply_is_spooled_and_a_damaged_one_is_an_error(damage: int) -> None:
    records = [{"EQUNR": f"N{number}", "text": "x" * 50} for number in range(20_000)]
    packed = gzip.compress(json.dumps({"data": records}).encode())
    sent = packed if damage == 0 else packed[:damage] if damage < 0 else packed[:damage] + b"\0\0\0" + packed[damage + 3 :]
    calls: list[ApiCall] = []
    with scripted_source(reply(sent, Content_Encoding="gzip")) as source, transport(source.url, calls) as client:
        if damage:
            with pytest.raises(TransientError):
                client.spool("equipments")
        else:
            assert list(client.spool("equipments")) == records
            assert calls[0].bytes_received == len(packed)


def packed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def damaged(body: bytes, position: int) -> bytes:
    return body[:position] + b"\xff\xff\xff" + body[position + 3 :]


BEGINNING = '{"data":[{"EQUNR":"N526JB"},{"text":"'
LONG = BEGINNING + "".join(f"{number} " for number in range(1000))


@pytest.mark.parametrize("read", [Transport.get, Transport.page, Transport.spool])
@pytest.mark.parametrize(
    ("bad", "quoted", "reason"),
    [
        (cut_reply(LONG), LONG[:120], f"RemoteProtocolError: .*received {len(LONG)} bytes, expected {len(LONG) + 1000}"),
        (cut_reply(LONG, is_chunked=True), LONG[:120], "RemoteProtocolError: .*incomplete chunked read"),
        (cut_reply(packed(LONG)[:-9], Content_Encoding="gzip"), LONG[:120], "RemoteProtocolError"),
        (reply(damaged(packed(LONG), 1200), Content_Encoding="gzip"), LONG[:120], "DecodingError"),
        (reply(damaged(packed(LONG), 2), Content_Encoding="gzip"), packed(LONG)[:2].decode("utf-8", "replace"), "DecodingError"),
        (cut_reply(b""), None, "RemoteProtocolError"),
    ],
    ids=["length", "chunks", "cut gzip", "damaged gzip", "no gzip", "nothing"],
)
def test_a_reply_that_breaks_off_on_its_way_is_a_transient_error_that_says_how_it_began(
    read: Callable[[Transport, str], object], bad: Response, quoted: str | None, reason: str
) -> None:
    calls: list[ApiCall] = []
    with (
        scripted_source(bad) as source,
        transport(source.url, calls) as client,
        pytest.raises(TransientError, match=reason) as failure,
    ):
        read(client, "equipments")
    message = str(failure.value)
    begins = "empty body" if quoted is None else repr(quoted)[:-1]
    assert f"GET equipments of {source.url}/: status 200, application/json, {begins}" in message
    assert repr(LONG[:121])[1:-1] not in message
    assert message.endswith("(3 attempts)")
    assert [(call.attempts, call.status, call.error) for call in calls] == [(3, 200, message)]


@pytest.mark.parametrize("read", [Transport.page, Transport.spool])
@pytest.mark.parametrize(
    "bad",
    [
        cut_reply(f'{{"data":[{{"token":"{TOKEN}", "EQUNR'),
        cut_reply(f'{{"data":[{{"token":"{TOKEN[:-1]}'),
        cut_reply(f'{{"data":[{{"token":"{TOKEN[:4]}', is_chunked=True),
        cut_reply(packed(f'{{"data":[{{"token":"{TOKEN}'), Content_Encoding="gzip"),
        reply(damaged(packed(f'{{"data":[{{"token":"{TOKEN}", "rest":"{LONG}'), 1200), Content_Encoding="gzip"),
        reply(f'{{"data":[{{"token":"{TOKEN[:-1]}'),
    ],
)
def test_what_is_quoted_of_a_reply_that_broke_off_holds_no_part_of_a_secret(
    read: Callable[[Transport, str], object], bad: Response
) -> None:
    with scripted_source(bad) as source, transport(source.url) as client, pytest.raises(TransientError) as failure:
        read(client, "equipments")
    assert '{"data":[{"token":"***' in str(failure.value)
    assert TOKEN[:4] not in str(failure.value)


@pytest.mark.parametrize(
    "said", [b"", b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"data":[{"A"']
)
def test_closing_ends_a_request_that_another_thread_waits_for(said: bytes) -> None:
    has_asked = threading.Event()
    with listen("127.0.0.1", 0) as server_socket, ThreadPoolExecutor(1) as pool:
        transport = Transport(base_url(server_socket), Credentials(TOKEN, "raw"), timeouts=Timeouts(read_s=60))
        asking = pool.submit(transport.spool, "equipments")
        client, _ = server_socket.accept()
        with client:
            client.recv(65536)
            client.sendall(said)
            has_asked.wait(0.2)  # until the other thread reads again
            transport.close()
            with pytest.raises(TransientError):
                asking.result(timeout=10)
