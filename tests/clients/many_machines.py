"""An OData source of many machines, read to its end by a process of its own: `python -m tests.clients.many_machines MACHINES`.

Prints how many documents were joined and the peak of the process's memory in MB.
"""

import datetime as dt
import sys
from typing import Any

from cmms_pipelines.clients.odata import V4, ODataApi
from cmms_pipelines.clients.odata_reference import ReferenceData
from cmms_pipelines.clients.transport import Page, Transport
from cmms_pipelines.sync.memory import peak_mb

DAY = dt.date(2013, 10, 28)
PAGE_ROWS = 1000


class ManyMachines(Transport):
    """Pages made up as they are asked for, without a network: of each machine one point, one master and one document."""

    def __init__(self, machines: int) -> None:
        self._machines = machines

    def page(self, endpoint: str, *_: object) -> Page:
        if "$top" in endpoint:  # whether documents name plants
            return Page([], None)
        path, _, position = endpoint.partition("&$skiptoken=")
        start = int(position or 0)
        end = min(start + PAGE_ROWS, self._machines)
        row = {V4.points: _point, V4.equipment: _machine, V4.documents: _document}[path.partition("?")[0]]
        link = f"{path.rpartition('/')[2]}&$skiptoken={end}" if end < self._machines else None
        return Page([row(number) for number in range(start, end)], link, self._machines)


def _point(number: int) -> dict[str, Any]:
    return {
        "MeasuringPoint": f"{number:012d}",
        "Equipment": f"MACHINE {number:010d}",
        "MeasuringPointObjectIdentifier": f"IE{number:012d}",
        "MeasuringPointIsCounter": True,
        "MeasuringPointIsInactive": False,
        "MeasurementRangeUnit": "H",
        "MeasuringPointSIUnitOfMeasure": "S",
        "MsrgPtIsCountingBackwards": False,
        "CounterOverflowRdngThreshold": 359_996_400.0 + number,
    }


def _machine(number: int) -> dict[str, Any]:
    names = {"EquipmentName": f"PUMP {number}", "MaintenancePlant": "P1", "CompanyCode": "1000"}
    return {"Equipment": f"MACHINE {number:010d}", "ValidityEndDate": "9999-12-31", **names}


def _document(number: int) -> dict[str, Any]:
    return {"MeasurementDocument": f"{number:020d}", "MeasuringPoint": f"{number:012d}"}


if __name__ == "__main__":
    machines = int(sys.argv[1])
    now = dt.datetime(2013, 10, 29, tzinfo=dt.UTC)
    api = ODataApi(ManyMachines(machines), V4, "http://source.example", lambda: now, ReferenceData())
    joined = 0
    for page in api.running_times(["P1"], DAY, DAY):
        joined += sum(record["EquipmentName"] == f"PUMP {int(record['MeasurementDocument'])}" for record in page)
    sys.stdout.write(f"{joined} {peak_mb()}\n")
