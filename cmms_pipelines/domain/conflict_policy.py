"""Who decides what in a conflict: the configuration of sync type `conflicts`, its defaults and what makes it valid.

What belongs here: the model and its defaults per entity and field. What does not: storing it (`storage.configurations`), and
what a strategy does (`domain.conflicts`).

One document per system; what it leaves out is as in `DEFAULT_RULES`. Safety and lock-out fields cannot be configured away.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmms_pipelines.domain.assets import ATTRIBUTE
from cmms_pipelines.domain.comparing import Kind, kind_of
from cmms_pipelines.domain.safety import is_safety_name

CONFLICTS = "conflicts"
"""The sync type of this configuration."""

OTHERS = "*"
"""Stands for all fields of an entity type that are not named."""


class Strategy(StrEnum):
    """How a true conflict on a field is decided."""

    AUTHORITY = "authority"
    """The side that is named keeps the say."""
    STATUS = "status"
    """The further state; where states do not compare, authority; contradictions about work that was done are escalated."""
    COUNTER = "counter"
    """The later reading, if the counter rose; a fall is a rollover where a limit is known, else escalated."""
    READINGS = "readings"
    """All readings of both sides, by their time; falls as with a counter."""
    SET = "set"
    """What either side added is in, what either side took away is out."""
    APPEND = "append"
    """What the other side added is appended; nothing is ever taken away."""
    LAST_WRITER = "last_writer"
    """The later edit, if both clocks are trusted and further apart than the skew; with a clock that is not, authority."""
    ESCALATE = "escalate"
    """Always a person."""


class Authority(StrEnum):
    """The side whose word counts: the system that the entity comes from, or we."""

    SOURCE = "source"
    LOCAL = "local"


class FieldRule(BaseModel):
    """How conflicts on one field are decided."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategy: Strategy = Field(description="how a conflict on the field is decided")
    authority: Authority | None = Field(
        default=None, description="whose word counts where the strategy asks for one: `source` or `local`"
    )

    @model_validator(mode="after")
    def _names_its_authority(self) -> Self:
        if self.strategy is Strategy.AUTHORITY and self.authority is None:
            raise ValueError("strategy 'authority' needs an authority: 'source' or 'local'")
        return self


def _rule(strategy: Strategy, authority: Authority | None = None) -> FieldRule:
    return FieldRule(strategy=strategy, authority=authority)


ALWAYS_ASK = _rule(Strategy.ESCALATE)
_SOURCE = _rule(Strategy.AUTHORITY, Authority.SOURCE)
_LOCAL = _rule(Strategy.AUTHORITY, Authority.LOCAL)
_LATER = _rule(Strategy.LAST_WRITER, Authority.SOURCE)
_COMMON = {
    "title": _LATER,
    "description": _LATER,
    "parts": _rule(Strategy.SET),
    "tags": _rule(Strategy.SET),
    "notes": _rule(Strategy.APPEND),
    "assignee": _SOURCE,
    "cost": _SOURCE,
    "currency": _SOURCE,
    "priority": _SOURCE,
    "due_at": _SOURCE,
    "scheduled_at": _SOURCE,
    "readings": _rule(Strategy.READINGS),
    "cumulative_hours": _rule(Strategy.COUNTER),
    "running_hours": _LOCAL,
    OTHERS: ALWAYS_ASK,
}
_ORDERS_ALONE = {
    "status": _rule(Strategy.STATUS, Authority.SOURCE),
    "work_type": _SOURCE,
    "started_at": _SOURCE,
    "completed_at": _SOURCE,
    "closed_at": _SOURCE,
    "equipment_number": ALWAYS_ASK,
    "plant_code": ALWAYS_ASK,
}
_MACHINES_ALONE = {
    "equipment_description": _LATER,
    "equipment_group": _LATER,
    "object_number": _SOURCE,
    "point": _SOURCE,
    "company_code": _SOURCE,
    "plant_code": _SOURCE,
    "is_active": ALWAYS_ASK,
}
DEFAULT_RULES: Mapping[str, Mapping[str, FieldRule]] = MappingProxyType(
    {
        "work_order": _COMMON | _ORDERS_ALONE,
        "equipment": _COMMON | _MACHINES_ALONE,
        "meter": _COMMON | {OTHERS: _LOCAL},
        "failure": _COMMON,
        "inspection": _COMMON,
        "maintenance_schedule": _COMMON,
    }
)
"""Rule by entity type and field; what a type does not name has its `*`, and a type that is not here the rules of a failure."""

_STRATEGIES: Mapping[Kind, frozenset[Strategy]] = MappingProxyType(
    {
        Kind.STATUS: frozenset((Strategy.STATUS,)),
        Kind.SET: frozenset((Strategy.SET,)),
        Kind.NOTES: frozenset((Strategy.APPEND,)),
        Kind.READINGS: frozenset((Strategy.READINGS,)),
        Kind.HOURS: frozenset((Strategy.COUNTER,)),
        Kind.TEXT: frozenset((Strategy.LAST_WRITER,)),
        Kind.CODE: frozenset((Strategy.LAST_WRITER,)),
        Kind.ANY: frozenset((Strategy.LAST_WRITER,)),
    }
)
_FOR_ANY = frozenset((Strategy.AUTHORITY, Strategy.ESCALATE))
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,99}|attributes\..{1,200}")
_CLOSED_TYPES = frozenset(("work_order", "equipment"))


class ConflictPolicy(BaseModel):
    """How conflicts with one system are decided: the configuration of sync type `conflicts`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "allowed_skew_s": 120,
                    "safety_fields": ["attributes.PRESSURE_CLASS"],
                    "rules": {
                        "work_order": {
                            "due_at": {"strategy": "authority", "authority": "local"},
                            "description": {"strategy": "escalate"},
                        },
                        "equipment": {"attributes.COLOUR": {"strategy": "last_writer", "authority": "source"}},
                    },
                }
            ]
        },
    )

    clock_is_trusted: bool = Field(default=True, description="false: this system's times never decide who wrote last")
    allowed_skew_s: Annotated[int, Field(ge=0, le=86_400)] = Field(
        default=300, description="edits closer together than this, in seconds, have no last writer"
    )
    time_zone: str = Field(default="UTC", description="IANA zone of this system's times without an offset")
    safety_fields: Annotated[tuple[str, ...], Field(max_length=200)] = Field(
        default=(), description="further fields that only people decide, beside those whose name says so"
    )
    rules: dict[str, dict[str, FieldRule]] = Field(
        default_factory=dict, description="rule by entity type and field, over the defaults; `*` stands for all other fields"
    )

    def rule_of(self, entity_type: str, field: str) -> FieldRule:
        """Return how conflicts on a field are decided; a safety field is always escalated, whatever is configured."""
        if self.is_safety(field):
            return ALWAYS_ASK
        own = self.rules.get(entity_type, {})
        defaults = DEFAULT_RULES.get(entity_type, DEFAULT_RULES["failure"])
        return own.get(field) or defaults.get(field) or own.get(OTHERS) or defaults[OTHERS]

    def is_safety(self, field: str) -> bool:
        """Return whether a field is about the safety of people."""
        return field in self.safety_fields or is_safety_name(field.removeprefix(ATTRIBUTE))

    @field_validator("time_zone")
    @classmethod
    def _is_known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no time zone of the IANA database (example: Europe/Berlin)") from error
        return value

    @model_validator(mode="after")
    def _fits_the_fields(self) -> Self:
        for entity_type, rules in self.rules.items():
            if entity_type not in DEFAULT_RULES:
                raise ValueError(f"rules: {entity_type!r} is no entity type: take one of {', '.join(DEFAULT_RULES)}")
            for field, rule in rules.items():
                problem = self._problem(entity_type, field, rule.strategy)
                if problem:
                    raise ValueError(f"rules.{entity_type}.{field}: {problem}")
        return self

    def _problem(self, entity_type: str, field: str, strategy: Strategy) -> str | None:
        if field == OTHERS:
            fits_all = strategy in _FOR_ANY
            return None if fits_all else f"{strategy.value!r} does not fit every field: take 'authority' or 'escalate'"
        if not _FIELD.fullmatch(field):
            return "no name of a field: lower-case letters, digits and '_', or 'attributes.KEY'"
        is_known = field in DEFAULT_RULES[entity_type] or (entity_type == "equipment" and field.startswith(ATTRIBUTE))
        if entity_type in _CLOSED_TYPES and not is_known:
            return f"no field of this entity: take one of {', '.join(sorted(DEFAULT_RULES[entity_type]))}, or 'attributes.KEY'"
        if self.is_safety(field):
            return None if strategy is Strategy.ESCALATE else "a safety or lock-out field is decided by people alone"
        allowed = _STRATEGIES.get(kind_of(field), frozenset()) | _FOR_ANY
        if strategy not in allowed:
            names = ", ".join(sorted(one.value for one in allowed))
            return f"{strategy.value!r} does not fit what the field holds ({kind_of(field).value}): take one of {names}"
        return None


DEFAULT_POLICY = ConflictPolicy()
"""What holds for a system that has no configuration of its own."""
