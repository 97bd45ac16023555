"""What part of the data a sync is about, as an operator names it: checked, so that a typing error is no empty success."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import sqlalchemy as sa

from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.sap_values import read_key
from cmms_pipelines.settings import Settings, UnknownPlantPolicy
from cmms_pipelines.storage.availability import when_available
from cmms_pipelines.storage.tables import equipment as equipment_table
from cmms_pipelines.storage.tables import plants as plants_table

_SHOWN = 10


@dataclass(frozen=True)
class Scope:
    """Known plants and machines; None: all of them."""

    plant_codes: list[str] | None
    equipment_numbers: list[str] | None


def running_times_scope(
    engine: sa.Engine,
    settings: Settings,
    *,
    plants: Sequence[str] = (),
    equipment: Sequence[str] = (),
    is_full_refresh: bool = False,
) -> Scope:
    """Return the scope of a sync of running hours; a full refresh without plants means all, also the inactive ones.

    Raises:
        PermanentError: a plant code or an equipment number is not known; the message names it and what is like it.
        TransientError: the database stays away.
    """
    codes = sorted({code.strip() for code in plants})
    numbers = equipment_numbers(equipment)
    must_exist = settings.on_unknown_plant is UnknownPlantPolicy.REJECT

    def check() -> list[str]:
        with engine.connect() as connection:
            known: list[str] = list(connection.scalars(sa.select(plants_table.c.plant_code).order_by(plants_table.c.plant_code)))
            if must_exist:
                _require("plant code", codes, known, "nothing was synced; run sync_plants (`cmms sync plants`) if it is new")
            advice = "nothing was synced; run sync_equipment (`cmms sync equipment`) if it is new"
            _require_equipment(connection, numbers, advice)
        return known

    known = when_available(engine, check)
    if is_full_refresh and not codes:
        codes = known
    return Scope(codes or None, numbers or None)


def equipment_numbers(numbers: Sequence[str]) -> list[str]:
    """Return equipment numbers in the form in which they are stored (quirk 1: without leading zeros)."""
    return sorted({key for key in map(read_key, numbers) if key is not None})


def require_synced(engine: sa.Engine, numbers: Sequence[str]) -> None:
    """Make sure that a sync of these machines has brought them.

    Raises:
        PermanentError: one of them is not in cmms.equipment.
        TransientError: the database stays away.
    """
    advice = "the source did not send it for these plants, or it was refused (`cmms rejections list --equipment NUMBER`)"

    def check() -> None:
        with engine.connect() as connection:
            _require_equipment(connection, equipment_numbers(numbers), advice)

    when_available(engine, check)


def _require_equipment(connection: sa.Connection, keys: Sequence[str], advice: str) -> None:
    column = equipment_table.c.equipment_number
    known: set[str] = set(connection.scalars(sa.select(column).where(column.in_(keys))))
    if len(known) < len(keys):
        like = sa.or_(*(column.startswith(key[:3], autoescape=True) for key in keys if key not in known))
        known |= set(connection.scalars(sa.select(column).where(like).limit(5000)))
    _require("equipment number", keys, sorted(known), advice)


def _require(what: str, wanted: Sequence[str], known: Sequence[str], advice: str) -> None:
    unknown = [value for value in wanted if value not in set(known)]
    if not unknown:
        return
    similar = sorted({match for value in unknown[:_SHOWN] for match in get_close_matches(value, known, n=2, cutoff=0.6)})
    hint = f" Did you mean {', '.join(similar)}?" if similar else ""
    more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
    raise PermanentError(f"Unknown {what} {', '.join(unknown[:_SHOWN])}{more}: {advice}.{hint}")
