"""Sources for test events: those that can sign, and ones that exist for as long as a test takes.

What belongs here: making and removing them. What does not: sending (`sync.sample_events`).
"""

import base64
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

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
def temporary_sources(
    engine: sa.Engine, settings: Settings, presets: Sequence[str], sleep: Callable[[float], None] = time.sleep
) -> Iterator[list[tuple[str, str]]]:
    """Give a source of each of these kinds of senders, with a secret of its own, as (kind, source).

    They are deleted afterwards; their events stay.

    Raises:
        PermanentError: there is no such kind, it signs nothing, or a source of that name exists.
    """
    with ExitStack() as all_of_them:
        made = [(preset, all_of_them.enter_context(_source(engine, settings, preset))) for preset in presets]
        if made:
            sleep(RECEIVER_FOLLOWS_S)
        yield made


@contextmanager
def _source(engine: sa.Engine, settings: Settings, preset: str) -> Iterator[str]:
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
        yield name
    finally:
        with engine.begin() as connection:
            version = find_source(connection, name).version
            delete_source(connection, name, expected_version=version, actor=ACTOR)
