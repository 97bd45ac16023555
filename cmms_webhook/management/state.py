"""What the management API works with: its own connections, the key of secrets, the clock, and the way into the receiver.

What belongs here: making and ending these. What does not: what endpoints do with them.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from cryptography.fernet import MultiFernet
from starlette.types import ASGIApp

from cmms_pipelines.storage.engine import make_engine
from cmms_webhook.management.access import Gate
from cmms_webhook.management.hub import EventHub
from cmms_webhook.sources import TIME_TO_LIVE_S as SOURCES_KEPT_S

POOL_SIZE = 4
POOL_TIMEOUT_S = 5
STATEMENT_TIMEOUT_S = 10
_MARGIN_S = 0.05


class ManagementState:
    """Made once for an application; `receiver` is the application itself, which sample events go through to `events_path`."""

    def __init__(
        self,
        engine: sa.Engine,
        box: MultiFernet,
        *,
        clock: Callable[[], dt.datetime],
        receiver: ASGIApp,
        events_path: str,
        max_streams: int = 50,
        heartbeat_s: float = 15.0,
    ) -> None:
        """Take the receiver's engine for its address only: what people ask for must not take the receiver's connections."""
        self.address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
        self.engine = make_engine(
            self.address, pool_size=POOL_SIZE, max_overflow=0, pool_timeout=POOL_TIMEOUT_S, hide_parameters=True
        )
        self.box, self.clock, self.receiver, self.events_path = box, clock, receiver, events_path
        self._changed_at = 0.0
        self.gate = Gate(self.engine, clock)
        self.hub = EventHub(self.address, max_clients=max_streams, heartbeat_s=heartbeat_s)

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Give a connection whose statements end in time."""
        with self.engine.connect() as connection:
            _limit(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Give a connection in a transaction that is committed at the end, its statements ended in time."""
        with self.engine.begin() as connection:
            _limit(connection)
            yield connection
        self._changed_at = time.monotonic()

    async def settle(self) -> None:
        """Wait until the receiver, which keeps what it has read for a second, follows the last change made here."""
        await asyncio.sleep(max(0.0, self._changed_at + SOURCES_KEPT_S + _MARGIN_S - time.monotonic()))

    async def stop(self) -> None:
        """End the streams and give the connections back."""
        await self.hub.stop()
        try:
            await self.gate.flush()
        except sa.exc.SQLAlchemyError:  # when a token was last used is not worth a failed stop
            return
        finally:
            self.engine.dispose()


def _limit(connection: sa.Connection) -> None:
    connection.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"))
