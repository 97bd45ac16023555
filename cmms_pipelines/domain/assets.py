"""What an asset event changes on a machine's master data.

What belongs here: which fields a CMMS may state about a machine, and that the newest statement of each wins.
What does not: creating machines (the external API is their source) and plants.
"""

from dataclasses import dataclass
from datetime import datetime

from pydantic import JsonValue

from cmms_pipelines.domain.event_payloads import AssetPayload, stated_fields
from cmms_pipelines.domain.registers import FieldChange, Registers, stamp, to_json

ATTRIBUTE = "attributes."
_STAGES = {"asset_created": "created", "asset_updated": "updated", "asset_deleted": "deleted"}
_IMPLIED_ACTIVE = {"asset_created": True, "asset_deleted": False}


@dataclass(frozen=True)
class AssetChange:
    """What the source has stated after the event, and field by field what the event did."""

    registers: Registers
    fields: tuple[FieldChange, ...]
    is_new_state: bool

    def applied(self) -> dict[str, JsonValue]:
        """Return the fields that changed, with their new values; attributes are named `attributes.KEY`."""
        return {change.field: change.after for change in self.fields if change.is_applied}


def apply_asset(current: Registers | None, event_type: str, payload: AssetPayload, stated_at: datetime) -> AssetChange:
    """Return what an asset event makes of the statements of its source (None: none so far).

    Each attribute is a field of its own. `asset_deleted` makes the machine inactive and keeps its history; `asset_created` makes
    it active again. Null clears a description or an attribute; it says nothing about `is_active`.
    """
    before = current or Registers({}, {})
    registers = before.copy()
    stated = stated_fields(payload)
    stated.pop("equipment_number")
    attributes = stated.pop("attributes", None) or {}
    implied = _IMPLIED_ACTIVE.get(event_type)
    is_active = stated.pop("is_active", None) if implied is None else implied
    stated |= {f"{ATTRIBUTE}{key}": value for key, value in attributes.items()}
    if is_active is not None:
        stated["is_active"] = is_active
    moment = stamp(stated_at, _STAGES[event_type])
    taken = (registers.take(field, to_json(value), moment) for field, value in sorted(stated.items()))
    fields = tuple(change for change in taken if change is not None)
    return AssetChange(registers, fields, is_new_state=registers != before)
