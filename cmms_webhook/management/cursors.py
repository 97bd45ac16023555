"""Cursors of pages: opaque to callers, a position to us."""

import base64
import binascii

from cmms_webhook.management import problems


def cursor_of(position: int) -> str:
    """Return the cursor of the page that begins after a position."""
    return base64.urlsafe_b64encode(f"before:{position}".encode()).decode("ascii").rstrip("=")


def position_of(cursor: str | None) -> int | None:
    """Return the position of a cursor, None without one.

    Raises:
        RefusedError: 422 for a text that no page has given.
    """
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise problems.unusable("The cursor is none that a page has given.") from error
    kind, _, number = text.partition(":")
    if kind != "before" or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise problems.unusable("The cursor is none that a page has given.")
    return int(number)
