"""The dialects of the external API, each as one value: how its records become canonical frames.

What belongs here: which mapping and which frames a dialect has, and a site's own names of fields in front of the built-in ones.
What does not: the mappings themselves (`domain.records` for `ims`, `domain.odata_records` for both versions of OData) and how a
dialect is asked (`clients`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd

from cmms_pipelines.domain import odata_records, records
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.field_names import RecordFields
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.work_order_records import IMS_WORK_ORDER, ODATA_WORK_ORDER, work_orders_frame

Mapped = Mapping[str, tuple[str, ...]]
PlantsFrame = Callable[[Sequence[RawRecord]], pd.DataFrame]
ZonedFrame = Callable[[Sequence[RawRecord], Mapping[str, str]], pd.DataFrame]
NO_NAMES = RecordFields()


@dataclass(frozen=True)
class Dialect:
    """What the syncs need to know of a dialect.

    Attributes:
        name: as in CMMS_API_DIALECT.
        plants_frame: records to the columns of `records.plants_frame`.
        equipment_frame: records and the time zone of each plant code to the columns of `records.equipment_frame`.
        running_times_frame: records and the time zone of each plant code to the columns of `records.running_times_frame`, and
            where the source tells: is_replaced, is_reversed, is_difference, is_counting_backwards (bool) and overflow_at
            (float64, hours).
        work_orders_frame: records and the time zone of each plant code to the columns of
            `work_order_records.work_orders_frame`.
        plant_mapping, equipment_mapping, running_time_mapping, work_order_mapping: column of ours to the source's field names,
            the first one that a record has wins; for keys and for the values that the quarantine shows.
        has_decimal_comma: how its numbers are written.
    """

    name: str
    plants_frame: PlantsFrame
    equipment_frame: ZonedFrame
    running_times_frame: ZonedFrame
    work_orders_frame: ZonedFrame
    plant_mapping: Mapped
    equipment_mapping: Mapped
    running_time_mapping: Mapped
    work_order_mapping: Mapped
    has_decimal_comma: bool = False


def dialect_of(name: str, *, has_decimal_comma: bool = False, names: RecordFields = NO_NAMES) -> Dialect:
    """Return the dialect of this name.

    Args:
        name: ims, odata_v2 or odata_v4.
        has_decimal_comma: how its numbers are written (quirk 3, never guessed).
        names: the site's own fields, looked at before the built-in ones and read as those are.

    Raises:
        PermanentError: there is no such dialect.
    """
    if name == "ims":
        plants, equipment = _with(records.IMS_PLANT, names.plants), _with(records.IMS_EQUIPMENT, names.equipment)
        hours, orders = _with(records.IMS_RUNNING_TIME, names.running_times), _with(IMS_WORK_ORDER, names.work_orders)
        return Dialect(
            name=name,
            plants_frame=partial(records.plants_frame, mapping=plants),
            equipment_frame=partial(records.equipment_frame, mapping=equipment),
            running_times_frame=partial(records.running_times_frame, mapping=hours, has_decimal_comma=has_decimal_comma),
            work_orders_frame=partial(work_orders_frame, mapping=orders),
            plant_mapping=plants,
            equipment_mapping=equipment,
            running_time_mapping=hours,
            work_order_mapping=orders,
            has_decimal_comma=has_decimal_comma,
        )
    if name in ("odata_v2", "odata_v4"):  # one set of properties, two spellings of their values
        plants, hours = _with(odata_records.PLANT, names.plants), _with(odata_records.RUNNING_TIME, names.running_times)
        orders = _with(ODATA_WORK_ORDER, names.work_orders)
        return Dialect(
            name=name,
            plants_frame=partial(odata_records.plants_frame, mapping=plants),
            equipment_frame=odata_records.equipment_frame,
            running_times_frame=partial(odata_records.running_times_frame, mapping=hours, has_decimal_comma=has_decimal_comma),
            work_orders_frame=partial(work_orders_frame, mapping=orders),
            plant_mapping=plants,
            equipment_mapping=odata_records.EQUIPMENT,
            running_time_mapping=hours,
            work_order_mapping=orders,
            has_decimal_comma=has_decimal_comma,
        )
    raise PermanentError(f"dialect {name} is not available: CMMS_API_DIALECT is ims, odata_v2 or odata_v4")


def _with(built_in: Mapped, own: Mapped) -> Mapped:
    """Return a mapping with the site's own fields in front; the same mapping where there are none."""
    if not own:
        return built_in
    return {column: tuple(dict.fromkeys((*own.get(column, ()), *names))) for column, names in built_in.items()}
