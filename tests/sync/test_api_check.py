"""Each way in which a connection can be wrong, against a real server, and what the check says about it."""

import asyncio
import datetime as dt
import json
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from cmms_pipelines.clients.connect import DIALECTS
from cmms_pipelines.clients.odata import VERSIONS
from cmms_pipelines.emulator.server import create_app, listen
from cmms_pipelines.settings import Settings
from cmms_pipelines.sync.api_check import STEPS, ApiCheck, check_api
from tests.command_line import CommandLine
from tests.emulator_server import TOKEN, running, running_emulator

DAY = dt.date(2013, 10, 28)
SECRET = "s3cr3t-t0ken-value"
PLANTS = {"data": [{"SWERK": "P1", "NAME1": "One", "TIME_ZONE": "UTC"}]}
MASTER = {"SWERK": "P1", "EQUNR": "10000001", "CREATED_AT": "2013-01-01T00:15:00Z"}
READING = {
    "SWERK": "P1",
    "EQUNR": "10000001",
    "DATE": "2013-10-28",
    "DATE_TIME": "2013-10-28 23:59:00",
    "RECDV": "8.00",
    "CNTRR": "100.00",
    "CREATED_AT": "2013-10-29T00:15:00Z",
}
ORDER = {
    "order": "4000000001",
    "plant": "P1",
    "equipment_number": "10000001",
    "order_status": "REL  PRC",
    "planned_completion": "2013-10-31",
    "updated_at": "2013-10-28T02:00:00Z",
}
GOOD = {
    "plants": PLANTS,
    "equipments": {"data": [MASTER]},
    "equipments/jam-jalan": {"data": [READING]},
    "work-order": {"data": [ORDER]},
}
ORDERS = {"ims": "work-order"} | {name: version.orders for name, version in VERSIONS.items()}


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def check(url: str | None, token: str | None = SECRET, ahead: float = 0, timeout_s: float = 5, **given: object) -> ApiCheck:
    settings = Settings.model_validate({"api_url": url, "api_token": token, **given})
    result = check_api(settings, now=lambda: now() - dt.timedelta(seconds=ahead), last_day=DAY, timeout_s=timeout_s)
    assert [step.name for step in result.steps] == list(STEPS)
    assert SECRET not in json.dumps(result.as_json())
    return result


def failed(result: ApiCheck) -> tuple[str, str, str]:
    """The one step that failed, what it says and what it advises; what needs it is skipped."""
    (step,) = [step for step in result.steps if step.status == "failed"]
    assert not result.is_well
    assert step.advice
    assert result.diagnosis.startswith(f"{step.name}: {step.detail}")
    return step.name, step.detail, step.advice


@contextmanager
def serving(replies: Mapping[str, object], date: str | None = None) -> Iterator[str]:
    """A source that answers each path with JSON, or with the `Response` given for it; 404 for all others."""
    app = FastAPI(openapi_url=None)

    @app.get("/{path:path}")
    async def answer(path: str) -> Response:
        reply = replies.get(path, Response('{"message":"Not Found"}', 404, media_type="application/json"))
        made = reply if isinstance(reply, Response) else Response(json.dumps(reply), media_type="application/json")
        if date:
            made.headers["date"] = date
        return made

    with listen("127.0.0.1", 0) as server_socket, running(app, server_socket) as url:
        yield url


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_healthy_source_passes_every_step_in_each_dialect(dialect: str) -> None:
    with running_emulator(dialect=dialect) as server:
        result = check(server.url, TOKEN, api_dialect=dialect)
    assert result.is_well
    assert result.diagnosis == "all is well"
    assert {step.status for step in result.steps} == {"ok"}
    took = {step.name: step.duration_ms for step in result.steps}
    assert all(took[name] for name in ("connection", "credentials", "plants", "equipment", "running_times", "work_orders"))
    assert "all good" in result.steps[-1].detail


@pytest.mark.parametrize(
    ("url", "token", "missing"), [(None, "t", "CMMS_API_URL"), ("http://127.0.0.1:1", None, "CMMS_API_TOKEN")]
)
def test_what_is_not_configured_is_named(url: str | None, token: str | None, missing: str) -> None:
    step, detail, _ = failed(check(url, token))
    assert (step, detail) == ("configuration", f"{missing} is not set")


def test_an_address_with_credentials_in_it_is_refused_without_showing_them() -> None:
    step, detail, _ = failed(check(f"http://user:{SECRET}@127.0.0.1:1"))
    assert step == "configuration"
    assert "CMMS_API_TOKEN" in detail


def test_a_host_that_does_not_exist() -> None:
    step, detail, advice = failed(check("http://no-such-host.invalid"))
    assert step == "name"
    assert "no-such-host.invalid" in detail
    assert "DNS" in advice


def test_a_port_where_nothing_listens() -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    step, detail, advice = failed(check(f"http://127.0.0.1:{port}"))
    assert (step, detail) == ("connection", f"127.0.0.1:{port} refuses the connection")
    assert "port" in advice


def test_a_server_that_accepts_and_never_answers() -> None:
    with listen("127.0.0.1", 0) as silent:
        step, detail, advice = failed(check(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3))
    assert step == "credentials"
    assert "no answer within 0.3 s" in detail
    assert "--timeout" in advice


def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    with tls_server(tmp_path) as port:
        step, detail, advice = failed(check(f"https://localhost:{port}"))
    assert step == "tls"
    assert "not trusted" in detail
    assert "SSL_CERT_FILE" in advice


def test_a_server_without_tls_behind_https() -> None:
    with serving(GOOD) as url:
        step, detail, advice = failed(check(url.replace("http://", "https://")))
    assert step == "tls"
    assert "no TLS" in detail
    assert "http://" in advice


@pytest.mark.parametrize("dialect", DIALECTS)
def test_credentials_that_are_not_accepted(dialect: str) -> None:
    with running_emulator(dialect=dialect) as server:
        step, detail, advice = failed(check(server.url, api_dialect=dialect))
    assert step == "credentials"
    assert "status 401" in detail
    assert "CMMS_API_AUTH" in advice


@pytest.mark.parametrize(("spoken", "configured"), [("odata_v4", "ims"), ("ims", "odata_v2"), ("odata_v2", "odata_v4")])
def test_another_dialect_is_recognised(spoken: str, configured: str) -> None:
    with running_emulator(dialect=spoken) as server:
        step, _, advice = failed(check(server.url, TOKEN, api_dialect=configured))
    assert step == "credentials"
    assert f"CMMS_API_DIALECT={spoken}" in advice


def test_a_wrong_base_path() -> None:
    with running_emulator() as server:
        step, detail, advice = failed(check(f"{server.url}/api/v1", TOKEN))
    assert step == "plants"
    assert "CMMS_PLANTS_FILE" in detail
    assert "path in CMMS_API_URL" in advice


def test_a_wrong_base_path_behind_a_file_of_plants(tmp_path: Path) -> None:
    with running_emulator() as server:
        step, detail, advice = failed(check(f"{server.url}/api/v1", TOKEN, plants_file=plants_file(tmp_path, "B6JF")))
    assert step == "equipment"
    assert "status 404" in detail
    assert "path in CMMS_API_URL" in advice


@pytest.mark.parametrize(
    ("reply", "shown", "advice"),
    [
        (Response("<!doctype html><title>Sign in</title>", media_type="text/html"), "a page in place of data", "login page"),
        (Response("plants: P1", media_type="text/plain"), "JSON was expected", "login page"),
        (Response("", media_type="application/json"), "empty", "Something else answers"),
        (Response('{"message":"no"}', 403, media_type="application/json"), "status 403", "right"),
        (Response("<h1>Bad Gateway</h1>", 502, media_type="text/html"), "status 502", "in trouble"),
        (Response("", 302, {"location": "https://elsewhere.example"}), "status 302", "redirects"),
        (Response("{}", 429, media_type="application/json"), "status 429", "fewer requests"),
    ],
)
def test_an_answer_that_is_no_data(reply: Response, shown: str, advice: str) -> None:
    with serving({**GOOD, "plants": reply}) as url:
        step, detail, advised = failed(check(url))
    assert step == "credentials"
    assert shown in detail
    assert advice in advised


def test_a_source_without_equipment_is_not_well() -> None:
    with serving({**GOOD, "equipments": {"data": []}}) as url:
        step, detail, advice = failed(check(url))
    assert (step, detail) == ("equipment", "the source has no equipment for P1.")
    assert "may read" in advice


def test_a_source_without_readings_is_not_well() -> None:
    with serving({**GOOD, "equipments/jam-jalan": []}) as url:
        step, detail, _ = failed(check(url))
    assert (step, detail) == ("running_times", "no readings of P1 from 2013-10-22 to 2013-10-28.")


def test_a_reply_in_an_unknown_envelope() -> None:
    with serving({**GOOD, "equipments": {"items": []}}) as url:
        step, detail, _ = failed(check(url))
    assert step == "equipment"
    assert "no known envelope" in detail


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("status", "shown", "advice"),
    [
        (403, "status 403", "lack the right"),
        (404, "(status 404)", "sync_work_orders_nightly off"),
        (500, "status 500", "in trouble"),
    ],
)
def test_work_orders_that_a_source_refuses_are_told_beside_a_sample_of_the_rest(
    dialect: str, status: int, shown: str, advice: str
) -> None:
    with refusing(dialect, ORDERS[dialect], status) as url:
        result = check(url, TOKEN, api_dialect=dialect)
    step, detail, advised = failed(result)
    assert step == "work_orders"
    assert ORDERS[dialect] in detail
    assert shown in detail
    assert advice in advised
    assert (result.steps[-1].name, result.steps[-1].status) == ("sample", "ok")


def test_a_source_that_is_slow_with_work_orders_alone() -> None:
    with refusing("ims", ORDERS["ims"], 200, after_s=5) as url:
        step, _, advice = failed(check(url, TOKEN, timeout_s=1))
    assert step == "work_orders"
    assert "--timeout" in advice


def test_a_source_without_work_orders_is_well_where_their_sync_is_switched_off() -> None:
    without = {path: reply for path, reply in GOOD.items() if path != "work-order"}
    with serving(without) as url:
        result = check(url, schedules={"sync_work_orders_nightly": {"is_on": False}})
        at_another_time = check(url, schedules={"sync_work_orders_nightly": {"cron": "0 5 * * *"}})
    assert result.is_well
    (step,) = [step for step in result.steps if step.name == "work_orders"]
    assert step.detail == "not asked for: sync_work_orders_nightly is switched off"
    assert failed(at_another_time)[0] == "work_orders"


def test_days_without_a_changed_work_order_are_no_fault() -> None:
    with serving({**GOOD, "work-order": {"data": []}}) as url:
        result = check(url)
    assert result.is_well
    (step,) = [step for step in result.steps if step.name == "work_orders"]
    assert step.detail == "0 records of P1 that changed from 2013-10-22 to 2013-10-28"


@pytest.mark.parametrize(
    ("field", "value", "rule", "advice"),
    [
        ("order", None, "work_order_number_missing", "CMMS_API_DIALECT"),
        ("plant", "P9", "plant_unknown", "CMMS_PLANTS_FILE"),
        ("order_status", "ERLEDIGT", "status_invalid", "docs/source_data.md"),
        ("planned_completion", "31/10/13", "due_at_invalid", "CMMS_API_DIALECT"),
        ("updated_at", None, "updated_at_missing", "CMMS_API_DIALECT"),
    ],
)
def test_work_orders_that_cannot_be_read(field: str, value: str | None, rule: str, advice: str) -> None:
    with serving({**GOOD, "work-order": {"data": [{**ORDER, field: value}]}}) as url:
        step, detail, advised = failed(check(url))
    assert step == "sample"
    assert f"100% of work orders fail {rule} (as {field}=" in detail
    assert advice in advised


def test_a_work_order_of_a_machine_outside_the_sample_is_no_fault() -> None:
    with serving({**GOOD, "work-order": {"data": [{**ORDER, "equipment_number": "10000002"}]}}) as url:
        assert check(url).is_well


def test_plants_that_the_list_lacks() -> None:
    strangers = [{**READING, "SWERK": "P9"}]
    with serving({**GOOD, "equipments/jam-jalan": {"data": strangers}}) as url:
        step, detail, advice = failed(check(url))
    assert step == "sample"
    assert "plant_unknown (as SWERK='P9')" in detail
    assert "CMMS_PLANTS_FILE" in advice


def test_a_plant_that_was_asked_for_and_is_not_in_the_list() -> None:
    with serving(GOOD) as url:
        settings = Settings.model_validate({"api_url": url, "api_token": SECRET})
        step, detail, _ = failed(check_api(settings, now=now, plant_codes=["P7"], last_day=DAY))
    assert (step, detail) == ("plants", "P7 not among the 1 plants of the source.")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("DATE", "28/10/13", "date_invalid"),
        ("RECDV", "8,00", "running_hours_invalid"),
        ("CNTRR", "many", "cumulative_hours_invalid"),
        ("CREATED_AT", "yesterday", "api_created_at_invalid"),
    ],
)
def test_fields_that_cannot_be_read(field: str, value: str, rule: str) -> None:
    with serving({**GOOD, "equipments/jam-jalan": {"data": [{**READING, field: value}]}}) as url:
        step, detail, advice = failed(check(url))
    assert step == "sample"
    assert f"{rule} (as {field}={value!r})" in detail
    assert "CMMS_API_DECIMAL_COMMA" in advice


def test_a_decimal_comma_is_read_where_the_source_is_declared_so() -> None:
    with serving({**GOOD, "equipments/jam-jalan": {"data": [{**READING, "RECDV": "8,00"}]}}) as url:
        assert check(url, api_decimal_comma=True).is_well


def test_a_single_bad_record_is_the_quarantines_business() -> None:
    readings = [{**READING, "EQUNR": str(number)} for number in range(20)] + [{**READING, "RECDV": "much"}]
    with serving({**GOOD, "equipments/jam-jalan": {"data": readings}}) as url:
        result = check(url)
    assert result.is_well
    assert "single ones would go to the quarantine: 5% of running hours fail running_hours_invalid" in result.steps[-1].detail


@pytest.mark.parametrize(("ahead", "words"), [(300.0, "ahead of"), (-300.0, "behind")])
def test_a_clock_that_is_minutes_off(ahead: float, words: str) -> None:
    with serving(GOOD) as url:
        step, detail, advice = failed(check(url, ahead=ahead))
    assert step == "clock"
    assert f"{words} ours" in detail
    assert "NTP" in advice


@contextmanager
def refusing(dialect: str, endpoint: str, status: int, after_s: float = 0) -> Iterator[str]:
    """The emulator, all of whose endpoints answer but one: that one has this status for everybody."""
    app = create_app(TOKEN, dialect=dialect)

    @app.middleware("http")
    async def refuse(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path != f"/{endpoint}":
            return await answer(request)
        await asyncio.sleep(after_s)
        return JSONResponse({"message": "not for you"}, status)

    with listen("127.0.0.1", 0) as server_socket, running(app, server_socket) as url:
        yield url


def plants_file(folder: Path, *codes: str) -> Path:
    path = folder / "plants.csv"
    path.write_text("plant_code\n" + "\n".join(codes) + "\n", encoding="utf-8")
    return path


def test_the_command_ends_with_0_only_if_all_is_well_and_shows_no_secret() -> None:
    with running_emulator() as server:
        arguments = ("api", "check", "--date", "2013-10-28")
        well = CommandLine({"CMMS_API_URL": server.url, "CMMS_API_TOKEN": server.token})(*arguments, "--json")
        ill = CommandLine({"CMMS_API_URL": server.url, "CMMS_API_TOKEN": SECRET})(*arguments)
    assert well.returncode == 0, well.stderr
    told: dict[str, Any] = json.loads(well.stdout)
    assert (told["is_well"], [step["name"] for step in told["steps"]]) == (True, list(STEPS))
    assert ill.returncode == 1
    assert "credentials: GET plants: status 401" in ill.stderr
    assert "skipped" in ill.stdout
    assert SECRET not in ill.stdout + ill.stderr
    assert server.token not in well.stdout + well.stderr


def test_the_command_ends_with_1_where_work_orders_alone_are_refused() -> None:
    with refusing("odata_v4", ORDERS["odata_v4"], 403) as url:
        environment = {"CMMS_API_URL": url, "CMMS_API_TOKEN": TOKEN, "CMMS_API_DIALECT": "odata_v4"}
        told = CommandLine(environment)("api", "check", "--date", "2013-10-28")
    assert told.returncode == 1
    assert f"work_orders: GET {ORDERS['odata_v4']}" in told.stderr
    assert "status 403" in told.stderr


@contextmanager
def tls_server(folder: Path) -> Iterator[int]:
    """A server with a certificate that it signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now() - dt.timedelta(days=1))
        .not_valid_after(now() + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with listen("127.0.0.1", 0) as server_socket:
        server_socket.settimeout(5)
        thread = threading.Thread(target=_shake_hands_twice, args=(server_socket, context))
        thread.start()
        yield server_socket.getsockname()[1]
        thread.join(timeout=10)


def _shake_hands_twice(server_socket: socket.socket, context: ssl.SSLContext) -> None:
    """The check connects once to see whether it can and once for TLS."""
    for _ in range(2):
        plain, _ = server_socket.accept()
        with plain:
            plain.settimeout(5)
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:  # the client has hung up, as it should
                continue


def test_the_emulator_counts_the_few_requests_that_a_check_makes() -> None:
    with running_emulator() as server:
        assert check(server.url, TOKEN).is_well
        assert server.stats()["requests"] <= 8
