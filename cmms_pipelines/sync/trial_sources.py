"""Sources for test events: those that can sign, and ones that exist for as long as a test takes.

What belongs here: making and removing them. What does not: sending (`sync.sample_events`).
"""

import base64
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from pydantic import SecretStr

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.presets import PRESETS
from cmms_pipelines.domain.signatures import SchemeName
from cmms_pipelines.domain.webhook_source import WebhookSource
from cmms_pipelines.settings import Settings
from cmms_pipelines.storage.configuration_changes import delete_source, find_source
from cmms_pipelines.storage.configurations import register_source
from cmms_pipelines.storage.known_sources import KnownSources

ACTOR = "test events"
RECEIVER_FOLLOWS_S = 1.5
"""The receiver keeps what it has read of the sources for a second."""


def active_signers(engine: sa.Engine) -> list[str]:
    """Return the active sources by name."""
    with engine.connect() as connection:
        return sorted(KnownSources().read(connection))


@contextmanager
def temporary_source(
    engine: sa.Engine, settings: Settings, preset: str, sleep: Callable[[float], None] = time.sleep
) -> Iterator[str]:
    """Give a source of a kind of sender, with a secret of its own; it is deleted afterwards, its events stay.

    Raises:
        PermanentError: there is no such kind, it signs nothing, or a source of that name exists.
    """
    if preset not in PRESETS:
        raise PermanentError(f"{preset!r} is no kind of sender: take one of {', '.join(PRESETS)}.")
    if PRESETS[preset].scheme is SchemeName.UNSIGNED:
        raise PermanentError("An unsigned source would be open to anybody while the test runs: test one that you have set up.")
    name = f"test-{preset.replace('_', '-')}-{secrets.token_hex(4)}"
    source = WebhookSource.of_preset(preset, **({"time_zone": "UTC"} if preset == "frappe" else {}))
    value = secrets.token_bytes(32)
    secret = f"whsec_{base64.b64encode(value).decode()}" if source.scheme is SchemeName.STANDARD_WEBHOOKS else value.hex()
    register_source(engine, settings, name, source, secret=SecretStr(secret), actor=ACTOR)
    try:
        sleep(RECEIVER_FOLLOWS_S)
        yield name
    finally:
        with engine.begin() as connection:
            version = find_source(connection, name).version
            delete_source(connection, name, expected_version=version, actor=ACTOR)
