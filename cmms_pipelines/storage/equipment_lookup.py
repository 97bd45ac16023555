"""Find the machines that events name, all of a batch in one statement."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from cmms_pipelines.storage.tables import equipment, plants


@dataclass(frozen=True)
class KnownEquipment:
    """A machine as far as events need it; `time_zone` is its plant's."""

    id: int
    equipment_number: str
    plant_id: int
    time_zone: str


def find_equipment(connection: sa.Connection, numbers: Iterable[str]) -> Mapping[str, KnownEquipment]:
    """Return the known ones of `numbers`, by number."""
    wanted = sorted(set(numbers))
    if not wanted:
        return {}
    query = (
        sa.select(equipment.c.id, equipment.c.equipment_number, equipment.c.plant_id, plants.c.time_zone)
        .join(plants, plants.c.id == equipment.c.plant_id)
        .where(equipment.c.equipment_number == sa.any_(sa.cast(sa.literal(wanted, sa.ARRAY(sa.Text)), sa.ARRAY(sa.Text))))
    )
    return {
        row.equipment_number: KnownEquipment(row.id, row.equipment_number, row.plant_id, row.time_zone)
        for row in connection.execute(query)
    }
