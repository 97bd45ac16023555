"""A sample event as its source would send it: signed with the source's newest secret, posted to the receiver, and followed.

What belongs here: what the command line and the job of test events share. What does not: what a sample says
(`domain.presets`), how it is signed (`domain.signatures`).
"""

import datetime as dt
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import orjson
import sqlalchemy as sa
from pydantic import SecretStr

from cmms_pipelines.domain.errors import PermanentError, TransientError
from cmms_pipelines.domain.signatures import SchemeName, key_of, sign
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configurations import WEBHOOK, read_configurations, read_source
from cmms_pipelines.storage.inbox_search import find_event
from cmms_pipelines.storage.secrets import active_secrets, secret_box

LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Signer:
    """A source as a sender: how it is configured, and the secret that it signs with."""

    cmms_system_id: str
    source: WebhookSource
    secret: SecretStr | None

    def headers(self, body: bytes, now: dt.datetime, message_id: str) -> dict[str, str]:
        """Return the headers of a delivery.

        Raises:
            PermanentError: the scheme signs, and there is no secret in force that our key can decrypt.
        """
        headers = {"Content-Type": "application/json"}
        if self.source.scheme is SchemeName.UNSIGNED:
            return headers
        if self.secret is None:
            raise PermanentError(f"{self.cmms_system_id} has no secret in force that our key can decrypt.")
        key = key_of(self.source.scheme, self.secret.get_secret_value())
        return headers | sign(self.source.scheme, key, body, now, message_id)


@dataclass(frozen=True)
class Answer:
    """What the receiver said."""

    status: int
    reason: str
    text: str


def find_signer(engine: sa.Engine, settings: Settings, cmms_system_id: str, now: dt.datetime) -> Signer:
    """Return a source as a sender.

    Raises:
        PermanentError: there is none of this name.
    """
    with engine.connect() as connection:
        found = read_configurations(connection, WEBHOOK, cmms_system_id)
        known = active_secrets(connection, secret_box(settings), now, cmms_system_id)
    if not found:
        raise PermanentError(f"No source of events is registered as {cmms_system_id!r}.")
    secret = next((stored.value for stored in known if stored.value is not None), None)
    return Signer(cmms_system_id, read_source(found[0].configuration), secret)


def post(signer: Signer, body: object, *, message_id: str, now: dt.datetime, receiver: str) -> Answer:
    """Sign a body, post it and return the answer, whatever it is.

    Raises:
        PermanentError: the source cannot sign.
        TransientError: the receiver does not answer.
    """
    sent = orjson.dumps(body)
    address = f"{receiver.rstrip('/')}/api/v1/hooks/maintenance/events/{signer.cmms_system_id}"
    try:
        reply = httpx.post(address, content=sent, headers=signer.headers(sent, now, message_id), timeout=30)
    except httpx.TransportError as error:
        raise TransientError(f"The webhook receiver at {address} does not answer: {error}. Does it run (`cmms up`)?") from error
    return Answer(reply.status_code, reply.reason_phrase, reply.text)


def local_receiver(settings: Settings) -> str:
    """Return where this machine's receiver listens."""
    return f"http://{settings.webhook_host}:{settings.webhook_port}"


def follow(
    engine: sa.Engine, event_id: uuid.UUID, wait_s: float, sleep: Callable[[float], None] = time.sleep
) -> dict[str, Any] | None:
    """Return an event as it stands once it is no longer pending, or after `wait_s` seconds."""
    deadline = time.monotonic() + wait_s
    while True:
        with engine.connect() as connection:
            event = find_event(connection, event_id)
        if event is None or event["processing_status"] != "pending" or time.monotonic() >= deadline:
            return event
        sleep(LOOK_EVERY_S)
