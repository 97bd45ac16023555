"""Work orders of the external API judged, and as payloads like those of events.

What belongs here: which records are accepted, which of several of one order counts, and what each states. What does not: mapping
(`domain.work_order_records`), the rules (`domain.contracts`) and what an order becomes (`domain.work_orders`).

A date without a time is read as that of an event: in UTC, a due date as its last second. So both ways of arriving say the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cmms_pipelines.domain.contracts import failures_of
from cmms_pipelines.domain.event_payloads import WorkOrderPayload
from cmms_pipelines.domain.rejections import refused_rows
from cmms_pipelines.domain.work_order_records import DATES

KEY = ["work_order_number"]


@dataclass(frozen=True)
class JudgedWorkOrders:
    """Records after judgement.

    Attributes:
        rows: the frame's rows to be applied, one per order: the newest of several.
        failures: one row per record and failed rule.
        records_merged: accepted records that a newer one of the same order stands for.
    """

    rows: pd.DataFrame
    failures: pd.DataFrame
    records_merged: int


def judge(frame: pd.DataFrame, plant_codes: Mapping[str, int], equipment_ids: Mapping[str, int]) -> JudgedWorkOrders:
    """Check a frame of `work_orders_frame`, and choose the newest record of each order.

    Args:
        frame: one row per record.
        plant_codes, equipment_ids: the known plants and machines, with their ids.
    """
    context = frame.assign(
        plant_id=frame["plant_code"].map(plant_codes).astype("Int64"),
        equipment_id=frame["equipment_number"].map(equipment_ids).astype("Int64"),
        **{f"is_{name}_unreadable": False for name in DATES if name not in frame},
    )
    failures = failures_of("work_orders", context)
    accepted = frame.drop(index=refused_rows(failures))
    rows = accepted.sort_values("updated_at", kind="stable").drop_duplicates("work_order_number", keep="last")
    return JudgedWorkOrders(rows.sort_values("work_order_number"), failures, len(accepted) - len(rows))


def payloads(rows: pd.DataFrame) -> Iterator[WorkOrderPayload]:
    """Return accepted rows as payloads; a field that the dialect has and the record does not is stated as null."""
    names = [name for name in WorkOrderPayload.model_fields if name in rows]
    for row in rows[names].to_dict("records"):
        yield WorkOrderPayload.model_validate({str(name): _cell(str(name), value) for name, value in row.items()})


def _cell(name: str, value: Any) -> object:  # noqa: ANN401 - a cell of any column
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.date().isoformat() if name in DATES else value.to_pydatetime()
    return value
