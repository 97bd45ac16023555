"""Faults on demand: what they look like on the wire, and that they can be repeated."""

import time
from collections import Counter

import httpx
import pytest

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.emulator.faults import KINDS, Faults
from tests.emulator_server import running_emulator


def test_a_specification_is_read_whole() -> None:
    faults = Faults.parse("429=0.05, 500=0.05,502=0.02,timeout=0.01,truncate=0.02,login=0.02,seed=7,hang_s=0.5")
    assert faults.shares == {"429": 0.05, "500": 0.05, "502": 0.02, "timeout": 0.01, "truncate": 0.02, "login": 0.02}
    assert (faults.seed, faults.hang_s, faults.retry_after_s) == (7, 0.5, 1)
    assert Faults.parse("") == Faults()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("503=0.1", "'503' is none of 429, 500"),
        ("500", "500='' is not a number"),
        ("500=lots", "500='lots' is not a number"),
        ("500=1.5", "500=1.5 is not a share"),
        ("500=nan", "500=nan is not a share"),
        ("login=-0.1", "login=-0.1 is not a share"),
        ("500=0.6,502=0.6", "add up to 1.2"),
        ("500=0.1,500=0.2", "'500' is given twice"),
        ("seed=x", "seed='x' is not a number"),
        ("hang_s=-1", "hang_s=-1 is not a sensible number"),
    ],
)
def test_a_bad_specification_is_refused_with_its_reason(spec: str, message: str) -> None:
    with pytest.raises(PermanentError, match="--faults: ") as refusal:
        Faults.parse(spec)
    assert message in str(refusal.value)


def test_faults_depend_on_seed_and_number_alone_and_keep_their_shares() -> None:
    spec = "429=0.05,500=0.05,502=0.02,timeout=0.01,truncate=0.02,login=0.02"
    first, same, other = (Faults.parse(f"{spec},seed={seed}") for seed in (7, 7, 8))
    picked = [first.pick(number) for number in range(20_000)]
    assert picked == [same.pick(number) for number in range(20_000)]
    assert picked != [other.pick(number) for number in range(20_000)]
    counts = Counter(picked)
    for kind, share in first.shares.items():
        assert counts[kind] / len(picked) == pytest.approx(share, rel=0.2)


@pytest.mark.parametrize(
    ("kind", "status", "content_type", "text"),
    [
        ("429", 429, "application/json", "Too Many Attempts."),
        ("500", 500, "text/html; charset=utf-8", "<title>Server Error</title>"),
        ("502", 502, "text/html; charset=utf-8", "502 Bad Gateway"),
        ("login", 200, "text/html; charset=utf-8", "<form action="),
        ("timeout", 504, "text/html; charset=utf-8", "504 Gateway Time-out"),
    ],
)
def test_a_fault_answers_as_real_sources_do(kind: str, status: int, content_type: str, text: str) -> None:
    with running_emulator(faults=f"{kind}=1,retry_after_s=3,hang_s=0.2") as emulator, emulator.http() as http:
        reply = http.get("/plants")
        assert (reply.status_code, reply.headers["content-type"]) == (status, content_type)
        assert text in reply.text
        assert reply.headers.get("retry-after") == ("3" if kind == "429" else None)
        stats = emulator.stats()
    assert stats["faults"] == {kind: 1}
    assert stats["statuses"] == {str(status): 1}


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_truncated_reply_promises_more_than_it_sends(encoding: str, capsys: pytest.CaptureFixture[str]) -> None:
    with running_emulator(faults="truncate=1") as emulator, emulator.http() as http:
        for _ in range(2):  # the connection is closed, the server lives on
            with pytest.raises(httpx.RemoteProtocolError, match=r"received \d+ bytes, expected \d+"):
                http.get("/plants", headers={"Accept-Encoding": encoding})
    assert capsys.readouterr().err == ""


def test_a_timeout_hangs_until_the_client_gives_up() -> None:
    with running_emulator(faults="timeout=1,hang_s=60") as emulator, emulator.http(timeout=0.2) as http:
        start = time.monotonic()
        with pytest.raises(httpx.ReadTimeout):
            http.get("/plants")
        assert time.monotonic() - start < 2
        deadline = time.monotonic() + 2
        while emulator.stats()["faults"] != {"timeout": 1} and time.monotonic() < deadline:
            time.sleep(0.01)
        assert emulator.stats()["faults"] == {"timeout": 1}
    assert time.monotonic() - start < 5  # nobody waits for the rest of the minute


def test_health_and_statistics_never_fail() -> None:
    with running_emulator(faults="500=1", latency_ms=2000) as emulator, emulator.http() as http:
        start = time.monotonic()
        assert http.get("/health").status_code == 200
        assert emulator.stats()["requests"] == 0
        assert time.monotonic() - start < 1


def test_the_same_seed_repeats_the_same_faults_over_http() -> None:
    def statuses(seed: int) -> list[int]:
        with running_emulator(faults=f"429=0.2,500=0.2,502=0.2,seed={seed}") as emulator, emulator.http() as http:
            return [http.get("/plants").status_code for _ in range(25)]

    assert statuses(1) == statuses(1) != statuses(2)


def test_latency_is_added_to_every_request() -> None:
    with running_emulator(latency_ms=80) as emulator, emulator.http() as http:
        start = time.monotonic()
        http.get("/plants").raise_for_status()
        assert time.monotonic() - start >= 0.08


def test_statistics_count_requests_by_endpoint() -> None:
    with running_emulator() as emulator, emulator.http() as http:
        for path in ("/plants", "/plants", "/equipments"):
            http.get(path)
        stats = emulator.stats()
    assert stats["endpoints"] == {"/plants": 2, "/equipments": 1}
    assert (stats["requests"], stats["max_in_flight"], stats["peak_per_s"]) == (3, 1, 3)


def test_every_kind_has_a_test_of_its_own() -> None:
    assert set(KINDS) == {"429", "500", "502", "timeout", "truncate", "login"}
