"""Pooled connections for Dagster's storage.

Dagster opens a connection for each query and closes it after: a dozen a second when idle, several for each event of a run, and
each costs PostgreSQL a process. SQLAlchemy lets an engine's arguments be changed by a plugin that its URL names, so nothing
of Dagster has to be touched: `...?plugin=cmms_pooled` (the entry point in `pyproject.toml`).

Dagster also makes an instance, with three engines, for every tick of a sensor or schedule, and lets go of them some time later.
All engines of a process on one URL share one pool, or each would keep connections of its own until then.
"""

import threading
from typing import Any
from weakref import WeakValueDictionary

import sqlalchemy as sa
from sqlalchemy.engine import make_url

PLUGIN = "cmms_pooled"
POOL_SIZE = 4
MAX_OVERFLOW = 36


class SharedPool(sa.QueuePool):
    """The connections of all engines that were made in the same way, with the dialect that has set them up."""

    dialect: sa.Dialect


_pools: "WeakValueDictionary[tuple[str, str], SharedPool]" = WeakValueDictionary()  # a pool ends with the last engine on it
_lock = threading.Lock()


class PooledConnections(sa.CreateEnginePlugin):
    """Keep a few connections of an engine open, checked before each use: the server may have been restarted in between."""

    def __init__(self, url: sa.URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        kwargs.update(poolclass=SharedPool, pool_size=POOL_SIZE, max_overflow=MAX_OVERFLOW, pool_pre_ping=True)
        self._key = url.render_as_string(hide_password=False), repr(sorted(kwargs.items(), key=str))

    def update_url(self, url: sa.URL) -> sa.URL:
        """Return the URL without the plugin's name, which no driver knows."""
        return url.difference_update_query(["plugin"])

    def engine_created(self, engine: sa.Engine) -> None:
        """Have an engine use what the first one of its kind uses, as an engine with other execution options does."""
        own = engine.pool
        if not isinstance(own, SharedPool):  # another plugin has its own mind
            return
        own.dialect = engine.dialect
        with _lock:
            shared = _pools.setdefault(self._key, own)
        engine.pool, engine.dialect = shared, shared.dialect


def with_pool(address: str) -> str:
    """Return the URL `address` with the plugin named."""
    return make_url(address).update_query_pairs([("plugin", PLUGIN)], append=True).render_as_string(hide_password=False)
