"""The sweep for missed events: ask each source's API what changed since the last one, and bring what no event has brought.

What belongs here: the round over sources and pages. What does not: requests (`sync.source_api`), comparing and books
(`storage.sweeps`).

It is held and ended as the syncs are, before each source and before each batch is written; the next one asks for all of it again.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import orjson
import sqlalchemy as sa

from cmms_pipelines.domain.errors import CmmsError, PermanentError, TransientError
from cmms_pipelines.domain.events import canonical_number
from cmms_pipelines.domain.source_api import Changes, EntityKind, SourceApi, number_of
from cmms_pipelines.domain.strict_json import RefusedBodyError, read_json
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage import sweeps
from cmms_pipelines.storage.known_sources import KnownSources
from cmms_pipelines.storage.secrets import secret_box
from cmms_pipelines.storage.source_tokens import read_api_token
from cmms_pipelines.storage.sweeps import Changed, SweepCounts
from cmms_pipelines.sync.control import Patience, SyncStoppedError, wait_while_paused
from cmms_pipelines.sync.source_api import SourceClient


@dataclass(frozen=True)
class Swept:
    """One source's sweep: its books, and why it failed if it did, for a reason that may pass or not."""

    cmms_system_id: str
    counts: SweepCounts
    error: str | None = None
    is_passing: bool = False


def swept_sources(engine: sa.Engine) -> list[str]:
    """Return the active sources whose API says what changed."""
    with engine.connect() as connection:
        known = KnownSources().read(connection)
    return sorted(name for name, source in known.items() if source.api and _lists(source.api))


def sweep(
    engine: sa.Engine,
    settings: Settings,
    *,
    systems: Sequence[str] = (),
    run_id: str | None = None,
    now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    progress: Callable[[str], None] = lambda _message: None,
    patience: Patience = Patience(),  # noqa: B008 - frozen
) -> list[Swept]:
    """Sweep the named sources, or all that have an API with changes. A source that fails leaves the others alone.

    While syncs are paused it waits, and tells `progress`.

    Raises:
        PermanentError: a named source has no such API.
        SyncStoppedError: an operator stopped all syncs; no further source is asked.
    """
    with engine.connect() as connection:
        known = KnownSources().read(connection)
        began_at: dt.datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    able = {name: source.api for name, source in known.items() if source.api is not None and _lists(source.api)}
    if missing := sorted(set(systems) - set(able)):
        raise PermanentError(f"{', '.join(missing)}: no active source whose configuration says how to ask what changed (api).")

    def wait() -> None:
        wait_while_paused(engine, began_at, progress, patience)

    swept = []
    for name in sorted(systems or able):
        wait()
        swept.append(_sweep_one(engine, settings, name, able[name], run_id=run_id, now=now(), before_batch=wait))
    return swept


def _sweep_one(
    engine: sa.Engine,
    settings: Settings,
    system: str,
    api: SourceApi,
    *,
    run_id: str | None,
    now: dt.datetime,
    before_batch: Callable[[], None],
) -> Swept:
    counts, error = SweepCounts(), None
    with engine.begin() as connection:
        window = sweeps.next_window(connection, system, api, now)
        sweep_id = sweeps.start_sweep(connection, system, window, run_id)
    try:
        with engine.connect() as connection:
            token = read_api_token(connection, secret_box(settings), system)
        with SourceClient(system, api, token) as client:
            for batch in _batches(client, api, window, counts):
                before_batch()
                with engine.begin() as connection:
                    sweeps.put_missed(connection, system, sweep_id, batch, window=window, counts=counts)
    except CmmsError as failed:
        error = failed
    said = None if error is None else str(error)
    with engine.begin() as connection:
        sweeps.end_sweep(connection, sweep_id, counts, said)
    if isinstance(error, SyncStoppedError):
        raise error
    return Swept(system, counts, said, isinstance(error, TransientError))


def _batches(
    client: SourceClient, api: SourceApi, window: tuple[dt.datetime, dt.datetime], counts: SweepCounts
) -> Iterator[list[Changed]]:
    for kind, changes in _lists(api):
        batch: list[Changed] = []
        for page in client.changes(kind, changes, *window):
            for record in page:
                found = _read(api, kind, changes, record)
                if found is None:
                    counts.entities += 1
                    counts.refused += 1
                elif found.changed_at is None or found.changed_at < window[1]:
                    batch.append(found)
                if len(batch) == sweeps.BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch


def _read(api: SourceApi, kind: EntityKind, changes: Changes, record: object) -> Changed | None:
    """Return an entity of a page; None where it is none, has no number, or cannot be stored."""
    if not isinstance(record, dict):
        return None
    payload = api.entities[kind].payload_of(record)
    number = canonical_number(number_of(kind, payload))
    try:
        read_json(orjson.dumps(payload))
    except RefusedBodyError:  # no table can hold it
        return None
    return Changed(kind, number, payload, changes.changed_at(record)) if number else None


def _lists(api: SourceApi) -> list[tuple[EntityKind, Changes]]:
    return [(kind, entity.changes) for kind, entity in api.entities.items() if entity.changes is not None]
