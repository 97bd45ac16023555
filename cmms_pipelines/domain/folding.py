"""Accepted readings as one row per machine and day.

What belongs here: adding up, and what a row keeps of each plant. What does not: which readings are accepted
(`domain.running_times`), and what a day comes to beside the reading before it (`domain.machine_days`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cmms_pipelines.domain.machine_days import HOURS_MISSING

DUPLICATE_KEY = [
    "equipment_number", "date", "plant_code", "point", "date_time", "running_hours", "cumulative_hours", "is_reversed",
]  # fmt: skip
FOLDED = [
    "equipment_id", "equipment_number", "plant_id", "plant_code", "date", "date_time", "point", "description", "running_hours",
    "cumulative_hours", "days_covered", "company_code", "equipment_description", "object_number", "api_created_at", "warnings",
    "learned_overflow_at", "is_learned_backwards", "record_digest", "is_new",
    "is_locked", "is_settled",
]  # fmt: skip
_PART_TEXTS = ("company_code", "point", "description", "equipment_description", "object_number")
# the plant and what follows decide between readings of one instant, so that the order of arrival never does
TIME_ORDER = ["date_time", "cumulative_hours", "plant_code", "running_hours", "point", "company_code", "description"]


def fold(accepted: pd.DataFrame) -> pd.DataFrame:
    """Fold accepted readings to one row per machine and day: increments added up, the last counter kept (quirk 24).

    A record that only repeats another one is dropped before anything is added up (quirk 13), and so is a cancelled one
    beside others of its plant (quirk 22). `readings` keeps what each plant said where several did, and where the row alone
    does not say it all; a plant whose readings of the day are all cancelled is None in it. So a later sync of one plant
    replaces its own part alone. The order of the records does not matter.

    Returns:
        equipment_id, equipment_number, plant_id, plant_code, date, date_time, point, description, running_hours,
        cumulative_hours (hours), days_covered, company_code, equipment_description, object_number, api_created_at,
        warnings (list or missing), learned_overflow_at (hours), is_learned_backwards (what the readings say of their counter
        and nobody knew), record_digest (Int64, of a plain row's record), is_new (nothing was stored of the machine and day),
        is_locked, is_settled (see `running_times.with_context`),
        readings (dict by plant code, or missing).
    """
    is_special = accepted["is_several"] | accepted["is_reversed"] | accepted["is_replaced"] | accepted["is_difference"]
    is_special |= accepted["is_hours_unstated"] | ((accepted["days_covered"] > 1) & accepted["is_running_hours_given"])
    plain = accepted[FOLDED].assign(readings=None)
    if is_special.any():
        plain = pd.concat([plain.loc[~is_special], _together(accepted.loc[is_special])])
    order = np.lexsort((plain["date"].to_numpy(), plain["equipment_id"].to_numpy(dtype="int64", na_value=-1)))
    in_order = plain if (order[1:] > order[:-1]).all() else plain.take(order)
    return in_order.reset_index(drop=True)


def _together(special: pd.DataFrame) -> pd.DataFrame:
    """Fold machine-days that have several readings, or one that the row alone does not say all of."""
    in_time_order = special.sort_values(TIME_ORDER, kind="stable", na_position="first").drop_duplicates(DUPLICATE_KEY)
    stated = in_time_order["stated_hours"].where(~in_time_order["is_reversed"])
    ordered = in_time_order.assign(
        running_hours=in_time_order["running_hours"].mask(in_time_order["running_hours"] < 0), stated_hours=stated
    )
    columns = [*FOLDED, "stated_hours", "is_hours_unstated", "is_replaced", "is_difference", "is_reversed"]
    records: list[dict[Any, Any]] = ordered[columns].to_dict("records")
    of_days: dict[tuple[Any, Any], dict[str, list[dict[Any, Any]]]] = {}
    for record in records:
        of_plants = of_days.setdefault((record["equipment_id"], record["date"]), {})
        of_plants.setdefault(str(record["plant_code"]), []).append(record)
    rows = [_day_row(of_plants) for of_plants in of_days.values()]
    kinds = {name: special[name].dtype for name in FOLDED} | dict.fromkeys(("warnings", "readings"), np.dtype(object))
    return pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=kind) for name, kind in kinds.items()})


def _day_row(of_plants: Mapping[str, list[dict[Any, Any]]]) -> dict[str, Any]:
    """Return the row of one machine-day from its records, by plant and in the order of time."""
    parts = {code: _of_plant(records) for code, records in of_plants.items()}
    everything = [record for records in of_plants.values() for record in records]
    limits = [record["learned_overflow_at"] for record in everything if not pd.isna(record["learned_overflow_at"])]
    learned = {
        "learned_overflow_at": max(limits, default=None),
        "is_learned_backwards": any(record["is_learned_backwards"] for record in everything),
        "record_digest": None,
    }
    told = [part for part in parts.values() if part is not None]
    if not told:
        nothing = {"running_hours": None, "cumulative_hours": None, "days_covered": 1, "warnings": None}
        return {**everything[-1], **nothing, **learned, "readings": dict.fromkeys(parts)}
    told.sort(key=_place)
    hours = [part["running_hours"] for part in told if not pd.isna(part["running_hours"])]
    counters = [part["cumulative_hours"] for part in told if not pd.isna(part["cumulative_hours"])]
    readings = {code: None if part is None else _part(part) for code, part in parts.items()}
    is_said = len(parts) == 1 and not _says_more(told[0])
    return {
        **told[-1],
        **learned,
        "running_hours": sum(hours) if hours else None,
        "cumulative_hours": counters[-1] if counters else None,
        "days_covered": max(part["days_covered"] for part in told),
        "warnings": sorted({rule for part in told for rule in part["warnings"] or ()}) or None,
        "readings": None if is_said else readings,
    }


def _of_plant(records: Sequence[dict[Any, Any]]) -> dict[Any, Any] | None:
    """Return the readings of one plant and day as one; None where all of them are cancelled."""
    told = [record for record in records if not record["is_reversed"]]
    if not told:
        return None
    hours = [record["running_hours"] for record in told if not pd.isna(record["running_hours"])]
    counters = [record["cumulative_hours"] for record in told if not pd.isna(record["cumulative_hours"])]
    stated = [record["stated_hours"] for record in told if not pd.isna(record["stated_hours"])]
    return {
        **told[-1],
        "running_hours": sum(hours) if hours else None,
        "cumulative_hours": counters[-1] if counters else None,
        "days_covered": max(record["days_covered"] for record in told),
        "warnings": sorted({rule for record in told for rule in record["warnings"] or ()}) or None,
        "stated_hours": sum(stated) if len(stated) == len(told) else None,
        "is_hours_unstated": any(record["is_hours_unstated"] for record in told),
        "is_replaced": any(record["is_replaced"] for record in told),
        "is_difference": any(record["is_difference"] for record in told),
    }


def _place(part: Mapping[str, Any]) -> tuple[bool, Any, float, str]:
    """Return the place of a plant's part in its day, as `machine_days.Part.order` has it."""
    counter = -1.0 if pd.isna(part["cumulative_hours"]) else float(part["cumulative_hours"])
    has_time = not pd.isna(part["date_time"])
    return has_time, part["date_time"] if has_time else 0, counter, str(part["plant_code"])


def _says_more(part: Mapping[str, Any]) -> bool:
    """Tell whether a part says something that the columns of its row do not."""
    is_flagged = part["is_replaced"] or part["is_difference"] or part["is_hours_unstated"]
    has_other_hours = HOURS_MISSING not in (part["warnings"] or ()) and part["days_covered"] > 1
    return bool(is_flagged or has_other_hours)


def _part(part: Mapping[str, Any]) -> dict[str, object]:
    """Return what one plant reported, as `storage.machine_days` keeps it in `readings`."""
    texts = {name: part[name] for name in _PART_TEXTS[1:] if isinstance(part[name], str)}
    created_at = {} if pd.isna(part["api_created_at"]) else {"api_created_at": part["api_created_at"].isoformat()}
    flags = {name: True for name in ("is_replaced", "is_difference", "is_hours_unstated") if part[name]}
    is_other = part["days_covered"] > 1 and not pd.isna(part["stated_hours"])
    stated = {"stated_hours": round(float(part["stated_hours"]), 4)} if is_other else {}
    return {
        "running_hours": None if pd.isna(part["running_hours"]) else round(float(part["running_hours"]), 4),
        "cumulative_hours": None if pd.isna(part["cumulative_hours"]) else round(float(part["cumulative_hours"]), 4),
        "days_covered": int(part["days_covered"]),
        "date_time": None if pd.isna(part["date_time"]) else part["date_time"].isoformat(),
        "company_code": part["company_code"] if isinstance(part["company_code"], str) else None,
        "warnings": part["warnings"] if isinstance(part["warnings"], list) else [],
        **texts,
        **created_at,
        **flags,
        **stated,
    }
