"""Work orders of the external API: raw records of any dialect to a canonical frame.

What belongs here: which field of a dialect is which of ours, and what its statuses mean. What does not: judging
(`domain.judged_work_orders`), the rules (`domain.contracts`) and what an order becomes (`domain.work_orders`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from cmms_pipelines.domain import sap_values
from cmms_pipelines.domain.payload_types import WorkOrderStatus
from cmms_pipelines.domain.raw_records import RawRecord
from cmms_pipelines.domain.records import raw_value

IMS_WORK_ORDER: Mapping[str, tuple[str, ...]] = {
    "work_order_number": ("order", "work_order_number", "AUFNR"),
    "plant_code": ("plant", "SWERK"),
    "equipment_number": ("equipment_number", "EQUNR"),
    "status": ("order_status", "STTXT"),
    "title": ("description", "KTEXT"),
    "work_type": ("order_type", "AUART"),
    "assignee": ("main_work_center", "ARBPL"),
    "due_at": ("planned_completion", "GLTRP"),
    "completed_at": ("technical_completion", "IDAT2"),
    "closed_at": ("closed", "IDAT3"),
    "updated_at": ("updated_at", "UPDATED_AT"),
}
ODATA_WORK_ORDER: Mapping[str, tuple[str, ...]] = {
    "work_order_number": ("MaintenanceOrder", "AUFNR"),
    "plant_code": ("MaintenancePlant", "SWERK"),
    "equipment_number": ("Equipment", "EQUNR"),
    "status": ("SystemStatusText", "STTXT"),
    "title": ("MaintenanceOrderDesc", "KTEXT"),
    "work_type": ("MaintenanceOrderType", "AUART"),
    "assignee": ("MainWorkCenter", "ARBPL"),
    "priority": ("MaintPriority", "PRIOK"),
    "scheduled_at": ("MaintOrdBasicStartDate", "GSTRP"),
    "due_at": ("MaintOrdBasicEndDate", "GLTRP"),
    "updated_at": ("LastChangeDateTime",),
}
_TEXTS = ("plant_code", "title", "work_type", "assignee", "priority")
DATES = ("scheduled_at", "due_at", "completed_at", "closed_at")
# of the statuses that SAP lists side by side (`REL  PRC  TECO`) the furthest counts; a deletion flag comes before all of them
_SYSTEM_STATUSES = {
    "CRTD": WorkOrderStatus.REQUESTED,
    "REL": WorkOrderStatus.OPEN,
    "PCNF": WorkOrderStatus.IN_PROGRESS,
    "CNF": WorkOrderStatus.IN_PROGRESS,
    "TECO": WorkOrderStatus.COMPLETED,
    "CLSD": WorkOrderStatus.CLOSED,
    "DLFL": WorkOrderStatus.CANCELLED,
}
_RANK = {word: rank for rank, word in enumerate(_SYSTEM_STATUSES)}


def read_system_status(value: object) -> str | None:
    """Return where SAP's system statuses put an order; None for no text.

    Raises:
        ValueError: there is a text, and no status in it that we know.
    """
    text = sap_values.read_text(value)
    if text is None:
        return None
    known = [word for word in text.upper().split() if word in _RANK]
    if not known:
        raise ValueError("no system status that is known")
    return _SYSTEM_STATUSES[max(known, key=_RANK.__getitem__)].value


def work_orders_frame(
    records: Sequence[RawRecord], zones: Mapping[str, str], mapping: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame:
    """Map records of work orders; `zones` gives the time zone of each plant code, for stamps that have none.

    Returns:
        work_order_number, equipment_number, plant_code, status (ours), and of title, work_type, assignee, priority (str),
        scheduled_at, due_at, completed_at, closed_at (datetime64[s], a date) those that the dialect has; updated_at (UTC);
        an `is_<column>_unreadable` mask for status, dates and updated_at.
    """
    records = list(records)
    raw = {column: [raw_value(record, column, mapping) for record in records] for column in mapping}
    frame = pd.DataFrame({name: sap_values.key_column(raw[name]) for name in ("work_order_number", "equipment_number")})
    for name in _TEXTS:
        if name in raw:
            frame[name] = sap_values.text_column(raw[name])
    frame["status"], frame["is_status_unreadable"] = _statuses(raw["status"])
    for name in DATES:
        if name in raw:
            frame[name], frame[f"is_{name}_unreadable"] = sap_values.date_column(raw[name])
    zone_of = np.array([zones.get(code, "UTC") if isinstance(code, str) else "UTC" for code in frame["plant_code"]], dtype=object)
    frame["updated_at"], frame["is_updated_at_unreadable"] = sap_values.instant_column(raw["updated_at"], zone_of)
    return frame


def _statuses(cells: Sequence[object]) -> tuple[pd.Series, pd.Series]:
    read: list[str | None] = []
    unreadable: list[bool] = []
    for cell in cells:
        try:
            status = read_system_status(cell)
        except ValueError:
            status = None
            unreadable.append(True)
        else:
            unreadable.append(False)
        read.append(status)
    return pd.Series(read, dtype="str"), pd.Series(unreadable, dtype="bool")
