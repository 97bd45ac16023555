"""What the sources' configurations say to those who apply events: retries, their own APIs, the syncs that they may start.

What belongs here: reading all of them now and then. What does not: how they are received (`cmms_webhook.sources`), secrets.
"""

import time
import uuid
from collections.abc import Callable, Mapping

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.retry_policy import DEFAULT_RETRIES, RetryPolicy
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.configurations import WEBHOOK, read_configurations, read_source

KEPT_S = 2.0


class KnownSources:
    """All active sources as configured, at most `kept_s` old; one whose configuration is not usable is as if it had none."""

    def __init__(self, *, kept_s: float = KEPT_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept_s, self._clock = kept_s, clock
        self._by_version: dict[tuple[uuid.UUID, int], WebhookSource | None] = {}
        self._known: Mapping[str, WebhookSource] = {}
        self._fresh_until = -1.0

    def read(self, connection: sa.Connection) -> Mapping[str, WebhookSource]:
        """Return the sources by name."""
        if self._clock() >= self._fresh_until:
            self._reload(connection)
            self._fresh_until = self._clock() + self._kept_s
        return self._known

    def _reload(self, connection: sa.Connection) -> None:
        stored = [one for one in read_configurations(connection, WEBHOOK) if one.is_active]
        known = {(one.id, one.version): self._by_version.get((one.id, one.version)) for one in stored}
        for one in stored:
            if (one.id, one.version) not in self._by_version:
                known[(one.id, one.version)] = _usable(one.configuration)
        self._by_version = known
        found = {one.cmms_system_id: known[(one.id, one.version)] for one in stored}
        self._known = {name: source for name, source in found.items() if source is not None}


def retries_of(sources: Mapping[str, WebhookSource], system: str) -> RetryPolicy:
    """Return how events of a system are tried again; the default where it is not known any more."""
    source = sources.get(system)
    return source.retries if source is not None else DEFAULT_RETRIES


def _usable(configuration: Mapping[str, object]) -> WebhookSource | None:
    try:
        return read_source(configuration)
    except PermanentError:  # the receiver tells of it, at `/health/ready` and in every listing
        return None
