"""Telling whoever listens which events of the inbox have changed their state, at the commit.

What belongs here: the channel and its payload. What does not: new events, which the receiver tells on `cmms_inbox`.
"""

import uuid
from collections.abc import Collection

import sqlalchemy as sa

CHANNEL = "cmms_events"
"""Its payload is ids of events, separated by commas."""
_IDS_OF_ONE = 200  # a payload holds less than 8,000 bytes

_TELL = sa.text("SELECT pg_notify(:channel, payload) FROM unnest(CAST(:payloads AS text[])) AS told (payload)")


def tell_changed(connection: sa.Connection, ids: Collection[uuid.UUID]) -> None:
    """Tell the listeners of `cmms_events`, once the caller's transaction is committed, that these events have changed."""
    texts = [str(identifier) for identifier in ids]
    payloads = [",".join(texts[start : start + _IDS_OF_ONE]) for start in range(0, len(texts), _IDS_OF_ONE)]
    if payloads:
        connection.execute(_TELL, {"channel": CHANNEL, "payloads": payloads})
