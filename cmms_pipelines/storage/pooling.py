"""Pooled connections for Dagster's storage.

Dagster opens a connection for each query and closes it after: a dozen a second when idle, several for each event of a run, and
each costs PostgreSQL a process. SQLAlchemy lets an engine's arguments be changed by a plugin that its URL names, so nothing
of Dagster has to be touched: `...?plugin=cmms_pooled` (the entry point in `pyproject.toml`).
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

PLUGIN = "cmms_pooled"
POOL_SIZE = 4
MAX_OVERFLOW = 36


class PooledConnections(sa.CreateEnginePlugin):
    """Keep a few connections of an engine open, checked before each use: the server may have been restarted in between."""

    def __init__(self, url: sa.URL, kwargs: dict[str, Any]) -> None:
        super().__init__(url, kwargs)
        kwargs.update(poolclass=sa.QueuePool, pool_size=POOL_SIZE, max_overflow=MAX_OVERFLOW, pool_pre_ping=True)

    def update_url(self, url: sa.URL) -> sa.URL:
        """Return the URL without the plugin's name, which no driver knows."""
        return url.difference_update_query(["plugin"])


def with_pool(address: str) -> str:
    """Return the URL `address` with the plugin named."""
    return make_url(address).update_query_pairs([("plugin", PLUGIN)], append=True).render_as_string(hide_password=False)
