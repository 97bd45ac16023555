"""Telling running receivers that the sources of events have changed, at the commit of the change.

What belongs here: the channel. What does not: the changes themselves (`storage.configurations`, `storage.secrets`), and who
listens (`cmms_webhook.sources`), who also looks by himself once a second.
"""

import sqlalchemy as sa

CHANNEL = "cmms_sources"
_TELL = sa.text(f"SELECT pg_notify('{CHANNEL}', '')")


def tell_receivers(connection: sa.Connection) -> None:
    """Have receivers read their sources anew once this transaction is committed."""
    connection.execute(_TELL)
