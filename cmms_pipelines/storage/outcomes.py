"""How the inbox remembers what an event did: field by field, short enough to be read."""

from collections.abc import Iterable
from typing import Any

from pydantic import JsonValue

from cmms_pipelines.domain.registers import FieldChange

_MAX_TEXT = 200


def describe(changes: Iterable[FieldChange]) -> dict[str, Any]:
    """Return `changed` and `ignored`, each by field with before, after and reason; long values are cut."""
    described: dict[str, Any] = {}
    for change in changes:
        group = described.setdefault("changed" if change.is_applied else "ignored", {})
        group[change.field] = {"before": _short(change.before), "after": _short(change.after), "reason": change.reason}
    return described or {"reason": "nothing new"}


def _short(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return value if len(value) <= _MAX_TEXT else f"{value[:_MAX_TEXT]}…"
    if isinstance(value, list | dict):
        text = str(value)
        return value if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
    return value
