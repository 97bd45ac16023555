"""The source of a sync, from the settings: a connected client, the plants it is asked for, the configured groups."""

import csv
import sqlite3
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from cmms_pipelines.clients.api import ConnectedApi
from cmms_pipelines.clients.connect import connect
from cmms_pipelines.clients.odata_reference import ReferenceData
from cmms_pipelines.clients.spool import RecordSpool
from cmms_pipelines.clients.transport import Timeouts
from cmms_pipelines.domain.api_calls import ApiCall
from cmms_pipelines.domain.classification import DEFAULT_RULES, GroupRule, read_rules
from cmms_pipelines.domain.dialects import Dialect, dialect_of
from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.log_context import carried
from cmms_pipelines.settings import Settings

PLANTS_FILE_COLUMNS = ("plant_code", "name", "time_zone", "is_active")


def connect_source(settings: Settings, on_call: Callable[[ApiCall], None], run_id: str | None) -> ConnectedApi:
    """Open a client for the external system of the settings.

    The syncs of a run (`run_id`), and their retries, fetch the source's reference data once between them.

    Raises:
        PermanentError: the address or the token is missing, or one of them cannot work.
    """
    if settings.api_url is None or settings.api_token is None:
        missing = "CMMS_API_URL" if settings.api_url is None else "CMMS_API_TOKEN"
        raise PermanentError(f"{missing} is not set: say where the external API is and how to log in, or run `make demo`.")
    return connect(
        settings.api_url,
        settings.api_token.get_secret_value(),
        settings.api_auth.value,
        settings.api_dialect.value,
        timeouts=Timeouts(read_s=settings.api_timeout_s),
        max_in_flight=settings.api_max_in_flight,
        requests_per_s=settings.api_requests_per_s,
        on_call=on_call,
        known=None if run_id is None else _reference_data(run_id, settings.api_url, settings.api_dialect.value),
    )


@lru_cache(maxsize=1)  # a process does one run at a time
def _reference_data(_run_id: str, _url: str, _dialect: str) -> ReferenceData:
    return ReferenceData()


def source_dialect(settings: Settings, name: str | None = None, *, has_decimal_comma: bool | None = None) -> Dialect:
    """Return the dialect of the settings with the site's own fields; or another one, of records that came in it.

    Raises:
        PermanentError: there is no such dialect.
    """
    spoken = settings.api_dialect.value if name is None else name
    comma = settings.api_decimal_comma if has_decimal_comma is None else has_decimal_comma
    return dialect_of(spoken, has_decimal_comma=comma, names=settings.field_names.of(spoken))


@dataclass(frozen=True)
class Fetched:
    """What the source sent for one slice, in files, in the order of the plants; whoever has it closes it.

    Attributes:
        spools: one or more for each call.
        seconds: that it took.
    """

    spools: Sequence[RecordSpool]
    seconds: float

    def __len__(self) -> int:
        return sum(len(spool) for spool in self.spools)

    def close(self) -> None:
        for spool in self.spools:
            spool.close()


def fetch(
    ask: Callable[[Sequence[str]], Iterator[Sequence[dict[str, Any]]]], plant_codes: Sequence[str], settings: Settings
) -> Fetched:
    """Ask for some plants in calls of `api_plants_per_call`, several in flight; whatever fails fails all of it.

    Raises:
        TransientError: the source stays unreachable, or there is no room for temporary files.
        PermanentError: asking again is useless.
    """
    started = time.perf_counter()
    calls = list(batched(plant_codes, settings.api_plants_per_call))
    spools: list[list[RecordSpool]] = [[] for _ in calls]

    def spool(codes: Sequence[str], into: list[RecordSpool]) -> None:
        _spool_pages(ask(codes), into)

    try:
        with ThreadPoolExecutor(max_workers=min(len(calls), settings.api_max_in_flight), thread_name_prefix="fetch") as pool:
            list(pool.map(carried(spool), calls, spools))
    except BaseException as error:
        for begun in chain.from_iterable(spools):
            begun.close()
        if isinstance(error, OSError | sqlite3.Error):
            raise TransientError(
                f"What the source sent cannot be kept in {gettempdir()} ({error}): free space there, or set TMPDIR to a folder "
                "that has more, and run the sync again."
            ) from error
        raise
    return Fetched(list(chain.from_iterable(spools)), time.perf_counter() - started)


def _spool_pages(pages: Iterable[Sequence[dict[str, Any]]], into: list[RecordSpool]) -> None:
    """Keep the pages of one call; those that come decoded go into a file of their own."""
    decoded: RecordSpool | None = None
    for page in pages:
        if isinstance(page, RecordSpool):
            into.append(page)
            continue
        if decoded is None:
            decoded = RecordSpool()
            into.append(decoded)
        decoded.append(page)


def batched(codes: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Cut `codes` into runs of at most `size`."""
    return (codes[start : start + size] for start in range(0, len(codes), size))


def plant_records(settings: Settings, api: ConnectedApi) -> list[dict[str, Any]]:
    """Return the raw records of all plants: of the file CMMS_PLANTS_FILE, else of the API.

    Raises:
        PermanentError: there is neither, or the file cannot be read.
    """
    if settings.plants_file is not None:
        return _read_plants_file(settings.plants_file)
    records = api.plants()
    if not records:
        raise PermanentError(
            "The external API has no list of plants: give one by CMMS_PLANTS_FILE (plant_code,name,time_zone,is_active)."
        )
    return records


def group_rules(settings: Settings) -> Sequence[GroupRule]:
    """Return the classification rules of CMMS_EQUIPMENT_GROUPS_FILE, those that are configured, or the default ones.

    Raises:
        PermanentError: the file cannot be read or a rule in it cannot be used.
    """
    path = settings.equipment_groups_file
    if path is None:
        return settings.equipment_groups or DEFAULT_RULES
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PermanentError(f"CMMS_EQUIPMENT_GROUPS_FILE {path} cannot be read: {error}") from error
    return read_rules(document)


def _read_plants_file(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = set(PLANTS_FILE_COLUMNS[:1]) - set(reader.fieldnames or ())
            if missing:
                raise PermanentError(f"CMMS_PLANTS_FILE {path} lacks the column plant_code; it has {reader.fieldnames}.")
            return [{name: value for name, value in row.items() if name is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PermanentError(f"CMMS_PLANTS_FILE {path} cannot be read: {error}") from error
