"""How hard a sync asks its source is what the settings say, as the server itself counts it; what it sends may find no room."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path

import pytest

from cmms_pipelines.sync.plants import known_plants
from cmms_pipelines.sync.session import SyncSession
from tests.emulator_server import running_emulator
from tests.sync.conftest import Source, settings_for

DAY = date(2013, 10, 28)
CALLS = 20
Sync = Callable[[Source, Sequence[str]], SyncSession]


def running_times(source: Source, plant_codes: Sequence[str]) -> SyncSession:
    return source.running_times(DAY, plants=plant_codes)


@pytest.mark.parametrize("sync", [Source.equipment, running_times])
def test_calls_for_plants_are_in_flight_together_as_many_as_configured(ready: Source, tmp_path: Path, sync: Sync) -> None:
    most = 6  # more than a client has by default
    codes = known_plants(ready.engine)["plant_code"].to_list()[:CALLS]
    with running_emulator(latency_ms=80) as emulator:
        changes = {"api_max_in_flight": most, "api_plants_per_call": 1}
        source = Source(ready.database, settings_for(emulator, ready.database, tmp_path, **changes))
        assert sync(source, codes).counts.received > 0
        stats = emulator.stats()
    assert stats["requests"] == CALLS
    assert stats["max_in_flight"] == most


@pytest.mark.parametrize("sync", [Source.equipment, running_times])
def test_a_sync_keeps_the_configured_rate(ready: Source, tmp_path: Path, sync: Sync) -> None:
    rate = 8
    codes = known_plants(ready.engine)["plant_code"].to_list()[:CALLS]
    with running_emulator() as emulator:
        changes = {"api_requests_per_s": rate, "api_plants_per_call": 1}
        source = Source(ready.database, settings_for(emulator, ready.database, tmp_path, **changes))
        session = sync(source, codes)
        stats = emulator.stats()
    assert stats["requests"] == CALLS
    assert session.counts.stage_seconds["fetch"] >= (CALLS - 1) / rate * 0.99
    assert stats["peak_per_s"] <= rate * 1.5  # a start may arrive late


FETCH = """
import resource, sys
from cmms_pipelines.clients.on_disk import DiskNumbers
from cmms_pipelines.domain.errors import TransientError
from cmms_pipelines.settings import Settings
from cmms_pipelines.sync.source import fetch

def records(codes):
    for number in range(100):
        yield [{"text": "x" * 50_000, "number": number}]

def keys(codes):
    with DiskNumbers() as numbers:
        for page in range(100):
            numbers.update({f"{page}-{number}" * 10: number for number in range(1000)})
            yield []

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    fetch({"records": records, "keys": keys}[sys.argv[1]], ["B6JF", "DLLG"], Settings())
except TransientError as error:
    print(error)
"""


@pytest.mark.parametrize("kept", ["records", "keys"])
def test_where_temporary_files_have_no_room_one_is_told_where_and_what_to_do(tmp_path: Path, kept: str) -> None:
    environment = {"TMPDIR": str(tmp_path), "SQLITE_TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", FETCH, kept], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(f"What the source sent cannot be kept in {tmp_path} (")
    assert ended.stdout.endswith("set TMPDIR to a folder that has more, and run the sync again.\n")
    assert list(tmp_path.iterdir()) == []
