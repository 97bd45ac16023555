"""The sources that may send, as they are configured now.

What belongs here: reading all of them at once, keeping them for a second at most, and reading them again when a change is told.
What does not: what a source may do (`receive`). All names are read together, so that an unknown one costs no query and no more
time than a known one.
"""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import psycopg
import sqlalchemy as sa
import structlog
from cryptography.fernet import MultiFernet

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.event_formats import EventMapping
from cmms_pipelines.domain.signatures import SchemeName, key_of
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configurations import WEBHOOK, read_configurations, read_source
from cmms_pipelines.storage.secrets import StoredSecret, active_secrets
from cmms_pipelines.storage.source_changes import CHANNEL

TIME_TO_LIVE_S = 1.0
READ_AGAIN_AFTER_S = 0.6  # under traffic the next reading is there before the last one ends, and no request waits for it
PATIENCE_S = 2.0
LISTEN_AGAIN_S = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Key:
    """A secret as the HMAC key that it is, while it is in force."""

    value: bytes
    secret_id: uuid.UUID
    expires_at: dt.datetime | None = None


@dataclass(frozen=True)
class Source:
    """A system that may send; `fault` says why it cannot be served although it is configured."""

    name: str
    configuration: WebhookSource
    keys: tuple[Key, ...] = ()
    fault: str | None = None

    @cached_property
    def tolerance(self) -> dt.timedelta:
        return dt.timedelta(seconds=self.configuration.tolerance_s)

    @cached_property
    def mapping(self) -> EventMapping:
        return self.configuration.mapping()

    def keys_at(self, now: dt.datetime) -> tuple[Key, ...]:
        """Return the keys in force: one may expire while the database, and so the next look at it, is away."""
        if self._first_expiry is None or now < self._first_expiry:
            return self.keys
        return tuple(key for key in self.keys if key.expires_at is None or now < key.expires_at)

    @cached_property
    def _first_expiry(self) -> dt.datetime | None:
        return min((key.expires_at for key in self.keys if key.expires_at), default=None)


class Sources:
    """All active sources, at most a second old; while the database is away the last ones known stay in force.

    Between `start` and `stop` a change that the database tells of counts from the next request on.
    """

    def __init__(self, engine: sa.Engine, box: MultiFernet, clock: Callable[[], dt.datetime]) -> None:
        self._engine, self._box, self._clock = engine, box, clock
        self._known: Mapping[str, Source] | None = None
        self._read_again_at = self._fresh_until = 0.0
        self._refresh: asyncio.Task[None] | None = None
        self._refresh_started = self._changed_at = 0.0
        self._listener: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen for changes, in the running event loop."""
        self._listener = asyncio.create_task(self._listen())

    async def stop(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener

    async def find(self, name: str) -> Source | None:
        """Return the source of this name.

        Raises:
            TransientError: the sources have never been read, and cannot be read now.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._read_again_at and self._refresh is None:
            self._refresh, self._refresh_started = asyncio.create_task(self._reload()), now
        if self._refresh is not None and (self._known is None or now >= self._fresh_until):
            patience = self._refresh_started + PATIENCE_S - now
            if patience > 0:
                await asyncio.wait({self._refresh}, timeout=patience)
        if self._known is None:
            raise TransientError("The sources cannot be read from the database.")
        return self._known.get(name)

    def faults(self) -> list[str]:
        """Return what is wrong with sources that are configured but cannot be served."""
        return sorted({source.fault for source in (self._known or {}).values() if source.fault})

    async def _listen(self) -> None:
        address = self._engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(
                    address, autocommit=True, connect_timeout=5, application_name="cmms-sources"
                )
                async with connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    self._expire()
                    async for _ in connection.notifies():
                        self._expire()
            except psycopg.OperationalError as error:
                _log.warning("changes_of_sources_are_not_told", error=type(error).__name__)
                await asyncio.sleep(LISTEN_AGAIN_S)

    def _expire(self) -> None:
        self._changed_at = asyncio.get_running_loop().time()
        self._read_again_at = self._fresh_until = 0.0

    async def _reload(self) -> None:
        loop = asyncio.get_running_loop()
        read_at = loop.time()
        try:
            known = await asyncio.to_thread(read_sources, self._engine, self._box, self._clock())
            before = self._known or {}
            for name, source in known.items():
                if source == before.get(name):
                    known[name] = before[name]  # with what was worked out from it
                elif source.fault:
                    _log.error("source_unusable", source=name, fault=source.fault)
            self._known = known
        except sa.exc.SQLAlchemyError as error:
            _log.error("sources_not_read", error=type(error).__name__)
            read_at = loop.time()  # not again for a second
        finally:
            is_current = self._changed_at <= read_at
            self._read_again_at = read_at + READ_AGAIN_AFTER_S if is_current else 0.0
            self._fresh_until = read_at + TIME_TO_LIVE_S if is_current else 0.0
            self._refresh = None


def read_sources(engine: sa.Engine, box: MultiFernet, now: dt.datetime) -> dict[str, Source]:
    """Read every active source with its secrets in force; one that is configured wrongly carries its fault."""
    with engine.connect() as connection:
        configurations = read_configurations(connection, WEBHOOK)
        secrets = active_secrets(connection, box, now)
    result = {}
    for stored in configurations:
        if stored.is_active:
            mine = [secret for secret in secrets if secret.cmms_system_id == stored.cmms_system_id]
            result[stored.cmms_system_id] = _source(stored.cmms_system_id, stored.configuration, mine)
    return result


def _source(name: str, configuration: Mapping[str, object], secrets: list[StoredSecret]) -> Source:
    try:
        source = read_source(configuration)
    except PermanentError:
        return Source(name, WebhookSource(), fault="configuration_unusable")
    try:
        keys = tuple(
            Key(key_of(source.scheme, secret.value.get_secret_value()), secret.id, secret.expires_at)
            for secret in secrets
            if secret.value is not None
        )
    except PermanentError:
        return Source(name, source, fault="secret_unusable")
    is_unreadable = bool(secrets) and not keys and source.scheme is not SchemeName.UNSIGNED
    return Source(name, source, keys, "secrets_unreadable" if is_unreadable else None)
