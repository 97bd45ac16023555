"""Syncs that events ask for: what a source may start, and the scope that an event names.

What belongs here: the payload of `sync_requested`, and scopes with their keys. What does not: recording requests
(`storage.sync_requests`), starting runs (`defs.maintenance`).
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

MAX_DAYS = 31
MAX_PLANTS = 200


class SyncStart(StrEnum):
    """What an event of some type starts: the equipment sync of the plant that it is about, or the sync that it names."""

    EQUIPMENT_OF_PLANT = "equipment_of_plant"
    NAMED_SCOPE = "named_scope"


_PlantCode = Annotated[str, Field(min_length=1, max_length=20)]
_Number = Annotated[str, Field(min_length=1, max_length=50)]


class SyncRequestPayload(BaseModel):
    """The payload of `sync_requested`: which sync, of what. Plants and machines that are left out mean all."""

    model_config = ConfigDict(frozen=True, extra="ignore", str_strip_whitespace=True)

    sync: Literal["equipment", "running_times"]
    plants: Annotated[list[_PlantCode], Field(max_length=MAX_PLANTS)] = []
    equipment: Annotated[list[_Number], Field(max_length=1_000)] = []
    first_day: dt.date | None = Field(default=None, description="of running hours, included")
    last_day: dt.date | None = Field(default=None, description="of running hours, included; by default the first day")

    @model_validator(mode="after")
    def _names_days_for_running_times_alone(self) -> Self:
        if self.sync == "equipment":
            if self.first_day or self.last_day:
                raise ValueError("equipment has no days")
            return self
        if self.first_day is None:
            raise ValueError("running_times needs first_day")
        days = ((self.last_day or self.first_day) - self.first_day).days + 1
        if not 1 <= days <= MAX_DAYS:
            raise ValueError(f"first_day to last_day must be 1 to {MAX_DAYS} days")
        return self


@dataclass(frozen=True)
class SyncScope:
    """One run's worth of a sync; nothing in `plants` or `equipment` means all. Days are of running hours alone."""

    sync_type: str
    plants: tuple[str, ...] = ()
    equipment: tuple[str, ...] = ()
    first_day: dt.date | None = None
    last_day: dt.date | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the scope as it is stored."""
        days = {"first_day": self.first_day, "last_day": self.last_day} if self.first_day else {}
        return {
            "plants": list(self.plants),
            "equipment": list(self.equipment),
            **{name: day.isoformat() for name, day in days.items() if day},
        }

    @classmethod
    def of_json(cls, sync_type: str, stored: Mapping[str, Any]) -> Self:
        """Return a stored scope."""
        days = {name: dt.date.fromisoformat(stored[name]) for name in ("first_day", "last_day") if name in stored}
        return cls(sync_type, tuple(stored["plants"]), tuple(stored["equipment"]), **days)

    def key(self) -> str:
        """Return what the requests share that one run can serve."""
        return hashlib.sha256(json.dumps([self.sync_type, self.as_json()], sort_keys=True).encode()).hexdigest()


def equipment_of(plant_code: str) -> SyncScope:
    """Return the scope of one plant's equipment."""
    return SyncScope("equipment", (plant_code,))


def requested_scopes(payload: Mapping[str, Any]) -> Sequence[SyncScope] | str:
    """Return the scopes that the payload of `sync_requested` names, one for each run, or what is wrong with it.

    Equipment is partitioned by plant, so that each plant is a run of its own and requests for one plant meet.
    """
    try:
        wanted = SyncRequestPayload.model_validate(payload)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)[:5]
        return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'payload'}: {problem['msg']}" for problem in problems)
    plants, machines = tuple(sorted(set(wanted.plants))), tuple(sorted(set(wanted.equipment)))
    if wanted.sync == "equipment":
        return [SyncScope("equipment", (plant,), machines) for plant in plants] or [SyncScope("equipment", (), machines)]
    return [SyncScope("running_times", plants, machines, wanted.first_day, wanted.last_day or wanted.first_day)]
