"""The routes of dialect `ims`: its field names, its token check, its plant filter in the body of a GET, its error bodies.

What does not belong here: what the data is (`flights`, `work_orders`) and what goes wrong on purpose (`faults`).
"""

import datetime as dt
import functools
from collections.abc import Callable, Iterable
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Request, Response
from starlette.concurrency import run_in_threadpool

from cmms_pipelines.emulator.access import Fields, Refusal, refused_unless
from cmms_pipelines.emulator.counters import CounterKind, Document, documents, kind_of
from cmms_pipelines.emulator.flights import TIME_ZONE, FlightHours, Machine, Plant, Reading
from cmms_pipelines.emulator.work_orders import CHANGED_AT, DUE_AFTER, FIRST_NOTIFICATION, FIRST_ORDER, WorkOrder, work_orders

CLIENT = "300"  # MANDT
PLANTS_PER_CALL = 5
LONGEST_WINDOW_DAYS = 366
LOAD_TIME = dt.time(0, 15)
UNAUTHENTICATED: Fields = {"message": "Unauthenticated."}


def create_router(hours: FlightHours, token: str, today: Callable[[], dt.date], *, has_counters: bool = False) -> APIRouter:
    """Every endpoint of the dialect; `today` is the last day with readings, `has_counters` brings the special counters."""
    router = APIRouter(dependencies=[Depends(refused_unless({token}, UNAUTHENTICATED))])
    equipment = sorted((m for m in hours.machines if m.is_registered), key=lambda m: (m.plant_code or "", m.number))

    @router.get("/plants")
    def plants() -> Response:
        return _reply(_plant(plant) for plant in hours.plants)

    @router.get("/equipments")
    async def equipments(wanted: Annotated[list[str] | None, Depends(_wanted_plants)]) -> Response:
        chosen = (m for m in equipment if wanted is None or (m.plant_code or "") in wanted)
        return await run_in_threadpool(lambda: _reply(_equipment(machine) for machine in chosen))

    @router.get("/equipments/jam-jalan")
    async def running_times(
        window: Annotated[tuple[dt.date, dt.date], Depends(_window)],
        wanted: Annotated[list[str] | None, Depends(_wanted_plants)],
    ) -> Response:
        readings = hours.readings(window[0], min(window[1], today()), wanted)
        if has_counters:
            shown = (document for reading in readings for document in documents(reading))
            return await run_in_threadpool(lambda: _reply(_document(document) for document in shown))
        return await run_in_threadpool(lambda: _reply(_running_time(reading) for reading in readings))

    @router.get("/work-order")
    async def orders(
        window: Annotated[tuple[dt.date, dt.date], Depends(_window)],
        wanted: Annotated[list[str] | None, Depends(_wanted_plants)],
    ) -> Response:
        as_of = today()
        found = work_orders(hours, *window, as_of)
        chosen = (order for order in found if wanted is None or order.due.plant_code in wanted)
        return await run_in_threadpool(lambda: _reply(_work_order(order, as_of) for order in chosen))

    return router


def _reply(rows: Iterable[Fields]) -> Response:
    return Response(orjson.dumps({"data": list(rows)}), media_type="application/json")


async def _wanted_plants(request: Request) -> list[str] | None:
    body = await request.body()
    if not body.strip():
        return None
    try:
        wanted = orjson.loads(body).get("plant")
    except (orjson.JSONDecodeError, AttributeError):
        raise _invalid("plant", "The request body must be a JSON object.") from None
    if wanted is None:
        return None
    if not isinstance(wanted, list) or not all(isinstance(code, str) for code in wanted):
        raise _invalid("plant", "The plant must be an array of strings.")
    if not 1 <= len(wanted) <= PLANTS_PER_CALL:
        raise _invalid("plant", f"The plant must have between 1 and {PLANTS_PER_CALL} items.")
    return wanted


def _window(request: Request) -> tuple[dt.date, dt.date]:
    errors: dict[str, list[str]] = {}
    dates: list[dt.date] = []
    for name in ("start_date", "end_date"):
        label, text = name.replace("_", " "), request.query_params.get(name)
        if not text:
            errors[name] = [f"The {label} field is required."]
            continue
        try:
            dates.append(dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).date())
        except ValueError:
            errors[name] = [f"The {label} is not a valid date."]
    if errors:
        raise Refusal(422, {"message": "The given data was invalid.", "errors": errors})
    start, end = dates
    if end < start:
        raise _invalid("end_date", "The end date must be a date after or equal to start date.")
    if (end - start).days >= LONGEST_WINDOW_DAYS:
        raise _invalid("end_date", f"The end date must be within {LONGEST_WINDOW_DAYS} days of start date.")
    return start, end


def _invalid(field: str, message: str) -> Refusal:
    return Refusal(422, {"message": "The given data was invalid.", "errors": {field: [message]}})


def _plant(plant: Plant) -> Fields:
    return {"SWERK": plant.code, "NAME1": plant.name, "TIME_ZONE": TIME_ZONE, "ACTIVE": "X"}


def _machine(machine: Machine) -> Fields:
    return {
        "EQUNR": machine.tail_number,
        "EQKTU": machine.description,
        "OBJNR": f"IE{machine.tail_number}",
        "POINT": f"{machine.number:012d}",
    }


def _equipment(machine: Machine) -> Fields:
    return {
        "ID": machine.number,
        "MANDT": CLIENT,
        "SWERK": machine.plant_code,
        "BUKRS": machine.plant_code and machine.plant_code[:2],
        **_machine(machine),
        "EQTYP": "M",
        "EQART": machine.type,
        "HERST": machine.manufacturer,
        "TYPBZ": machine.model,
        "BAUJJ": str(machine.year or ""),
        "GROES": f"{machine.seats} SEATS",
        "ENGINE": machine.engine,
        "MRNGU": "H",
        "KOSTL": None,
        "MAINTAINANCE_PLANNER_GROUP": None,  # spelt so by the API
        "MAINTAINANCE_WORK_CENTER": None,
        "FUNCTIONAL_LOCATION": None,
        "DESCRIPTION_FUNC_LOCATION": None,
        "group_name": None,
        "CREATED_AT": "2013-01-01T00:15:00.000000Z",
    }


def _running_time(reading: Reading) -> Fields:
    return {
        "ID": reading.number,
        "MANDT": CLIENT,
        "SWERK": reading.plant_code,
        "BUKRS": reading.company_code,
        **_machine(reading.machine),
        "DATE": reading.date.isoformat(),
        "DATE_TIME": _instant(reading.read_at),
        "RECDV": _hours(reading.running_minutes),
        "CNTRR": _hours(reading.counter_minutes),
        "MDTXT": None,
        "CREATED_AT": _loaded_at(reading.date),
    }


def _document(document: Document) -> Fields:
    """A reading with what its counter shows; the day's hours stay what they are where it counts backwards."""
    is_backwards = kind_of(document.reading.machine) is CounterKind.BACKWARDS
    return _running_time(document.reading) | {
        "ID": document.number,
        "RECDV": _hours(document.reading.running_minutes if is_backwards else document.difference_minutes),
        "CNTRR": _hours(document.counter_minutes),
        "EXCHG": "X" if document.is_replaced else "",
        "CANCL": "X" if document.is_reversed else "",
    }


def _work_order(order: WorkOrder, today: dt.date) -> Fields:
    changes = order.changes_until(today)
    status, changed_on = list(changes.items())[-1]
    dates = {name: on.isoformat() for name, on in changes.items()}
    return {
        "id": order.number,
        "mandt": CLIENT,
        "order": f"{FIRST_ORDER + order.number:012d}",
        "order_type": "PM01",
        "created_on": dates["CRTD"],
        "change_date_for_order_master": None if status == "CRTD" else dates[status],
        "description": f"{order.inspection_hours} H INSPECTION",
        "company_code": order.due.company_code,
        "plant": order.due.plant_code,
        "equipment_number": order.due.machine.tail_number,
        "order_status": status,
        "main_work_center": "MECH",
        "notification": f"{FIRST_NOTIFICATION + order.number:012d}",
        "cause": None,
        "cause_text": None,
        "released": dates.get("REL"),
        "technical_completion": dates.get("TECO"),
        "completed": None,
        "closed": dates.get("CLSD"),
        "planned_completion": (order.created_on + DUE_AFTER).isoformat(),
        "functional_location": None,
        "updated_at": _stamp(dt.datetime.combine(changed_on, CHANGED_AT)),
    }


@functools.lru_cache(maxsize=1024)  # many rows share few instants, and formatting one costs as much as the row
def _instant(utc: dt.datetime) -> str:
    return f"{utc:%Y-%m-%dT%H:%M:%SZ}"


@functools.lru_cache(maxsize=1024)
def _loaded_at(date: dt.date) -> str:
    return _stamp(dt.datetime.combine(date + dt.timedelta(days=1), LOAD_TIME))


def _hours(minutes: int) -> str:
    return f"{minutes / 60:.4f}"


def _stamp(utc: dt.datetime) -> str:
    return f"{utc:%Y-%m-%dT%H:%M:%S.000000Z}"
