"""From claimed events to settlements, whatever kind of event they are: what a drain and a trial both do.

What belongs here: the order of the steps. What does not: claiming (`storage.inbox_claims`), what events change
(`storage.event_effects`, `storage.sync_requests`), when a failed one is tried again (`storage.retrying`).
"""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from cmms_pipelines.domain.events import EventType
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.storage.event_effects import apply_events
from cmms_pipelines.storage.inbox_claims import ClaimedEvent, Settlement
from cmms_pipelines.storage.retrying import scheduled
from cmms_pipelines.storage.sync_requests import apply_sync_requests, request_syncs_of_plants


def apply_claimed(
    connection: sa.Connection, events: Sequence[ClaimedEvent], sources: Mapping[str, WebhookSource]
) -> list[Settlement]:
    """Apply events of one claim; return one settlement for each, with the wait of those that are tried again.

    Raises:
        TransientError: the connection is lost; nothing of the transaction has happened.
    """
    asking = [event for event in events if event.event_type == EventType.SYNC_REQUESTED]
    others = [event for event in events if event.event_type != EventType.SYNC_REQUESTED]
    applied = apply_events(connection, others)
    requested = apply_sync_requests(connection, asking, sources)
    return scheduled([*requested, *request_syncs_of_plants(connection, applied, sources)], sources)
