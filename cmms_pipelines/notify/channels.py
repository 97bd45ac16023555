"""Sending one message to one address, through Apprise.

What belongs here: the library, its errors, and keeping secrets out of what it says. What does not: who is sent what
(`notify.rounds`). An address is an Apprise URL and a secret as a whole: no function here logs or returns it, or a part of it
that is one.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from pydantic import SecretStr

from cmms_pipelines.domain.alert_messages import Message
from cmms_pipelines.domain.alerts import Severity
from cmms_pipelines.domain.errors import PermanentError, TransientError

if TYPE_CHECKING:
    import apprise

_LONGEST_REASON = 300
_SHORTEST_SECRET = 4
_SEPARATORS = re.compile(r"[/:@?&=#,;\s]+")


def send(
    address: SecretStr, message: Message, severity: Severity, *, is_good_news: bool = False, attachment: Path | None = None
) -> None:
    """Send a message, and return once the channel has taken it; a service that takes no files gets the text alone.

    Raises:
        TransientError: the channel did not take it; the reason names no secret.
        PermanentError: the address is none that Apprise understands.
    """
    import apprise  # noqa: PLC0415 - a second of import, and most rounds send nothing

    with _hearing() as heard:
        channel = apprise.Apprise.instantiate(address.get_secret_value(), suppress_exceptions=True)
        if not isinstance(channel, apprise.NotifyBase):
            raise PermanentError("Its address is none that Apprise understands: https://github.com/caronc/apprise/wiki")
        sender = apprise.Apprise()
        sender.add(channel)
        kind = _kind(severity, is_good_news=is_good_news)
        has_arrived = sender.notify(
            body=message.body,
            title=message.title,
            notify_type=kind,
            body_format=apprise.NotifyFormat.TEXT.value,
            attach=str(attachment) if attachment else None,
        )
    if not has_arrived:
        raise TransientError(_reason(heard.lines, address.get_secret_value(), channel))


def described(address: SecretStr) -> str:
    """Return the name of the service that an address leads to; an empty text for one that Apprise does not understand."""
    import apprise  # noqa: PLC0415

    with _hearing():
        channel = apprise.Apprise.instantiate(address.get_secret_value(), suppress_exceptions=True)
    return str(channel.service_name) if isinstance(channel, apprise.NotifyBase) else ""


@contextmanager
def _hearing() -> Iterator["_Heard"]:
    """Keep what the libraries say of an address away from every log: it names parts of it, at level debug all of it."""
    logger, heard = logging.getLogger("apprise"), _Heard()
    for talkative in (logger, logging.getLogger("urllib3"), logging.getLogger("requests_oauthlib")):
        talkative.setLevel(logging.WARNING)
        talkative.propagate = False
    logger.addHandler(heard)
    try:
        yield heard
    finally:
        logger.removeHandler(heard)


class _Heard(logging.Handler):
    """Keeps what the library says while a message is sent."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _kind(severity: Severity, *, is_good_news: bool) -> str:
    if is_good_news:
        return "success"
    if severity in (Severity.CRITICAL, Severity.HIGH):
        return "failure"
    return "info" if severity is Severity.INFO else "warning"


def _reason(lines: list[str], address: str, channel: "apprise.NotifyBase") -> str:
    """Return what the library said, with every part of the address masked but the kind of service and the name of a host."""
    text = " ".join(lines) or "the channel did not take the message"
    host = str(channel.host or "")
    harmless = {address.partition(":")[0].lower(), host if "." in host or host == "localhost" else ""}
    parts = {part for raw in _SEPARATORS.split(address) for part in (raw, unquote(raw))}
    secret = {part for part in parts if len(part) >= _SHORTEST_SECRET and part.lower() not in harmless}
    secret |= {str(value) for value in (channel.password,) if value}
    for part in sorted(secret, key=len, reverse=True):
        text = text.replace(part, "***")
    return text[:_LONGEST_REASON]
