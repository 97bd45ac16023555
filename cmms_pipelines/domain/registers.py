"""One field of an entity as its source tells it: the newest statement wins, whatever order the statements arrive in.

What belongs here: comparing two statements about one field. What does not: what our own side did to the field; merging both
sides needs the state that is kept here as its base (`cmms.source_snapshots`).
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import JsonValue

STAGES = {"created": 0, "updated": 1, "closed": 2, "deleted": 2}
"""Later stages win within the same millisecond: an order's creation never undoes its update."""


@dataclass(frozen=True)
class FieldChange:
    """What one statement did to one field, and why."""

    field: str
    before: JsonValue
    after: JsonValue
    is_applied: bool
    reason: str


@dataclass(frozen=True)
class Registers:
    """The fields that a source has stated, and when it stated each."""

    values: dict[str, JsonValue]
    times: dict[str, datetime]

    def take(self, field: str, value: JsonValue, stated_at: datetime) -> FieldChange | None:
        """Take over `value` if it is the newer statement; return what happened, None if nothing is new.

        Of two statements with the same time the greater one by its JSON text wins, so that the outcome does not depend on
        the order of arrival.
        """
        known_at, known = self.times.get(field), self.values.get(field)
        if known_at is not None and (known_at > stated_at or (known_at == stated_at and _text(known) >= _text(value))):
            if known == value:
                return None
            return FieldChange(field, known, value, False, f"older than what the source said at {known_at.isoformat()}")
        self.times[field], self.values[field] = stated_at, value
        if known_at is not None and known == value:
            return None
        reason = "first statement of the source" if known_at is None else "newer at the source"
        return FieldChange(field, known, value, True, reason)

    def copy(self) -> "Registers":
        """Return registers that can be changed without changing these."""
        return Registers(dict(self.values), dict(self.times))


def stamp(stated_at: datetime, stage: str) -> datetime:
    """Return the time of a statement, cut to milliseconds, with its stage in the microseconds below them."""
    return to_millisecond(stated_at) + timedelta(microseconds=STAGES[stage])


def to_millisecond(moment: datetime) -> datetime:
    """Return `moment` without what is finer than a millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def to_json(value: Any) -> JsonValue:  # noqa: ANN401 - a field of a payload may be of any JSON-like type
    """Return a payload's value as it is kept: times in ISO 8601, amounts as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    kept: JsonValue = value
    return kept


def _text(value: JsonValue) -> str:
    return json.dumps(value, sort_keys=True)
