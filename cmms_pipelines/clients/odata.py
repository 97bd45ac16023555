"""Dialects `odata_v2` and `odata_v4`: lists that the server pages, filters in the URL, and measuring points joined to documents.

What belongs here: which requests there are. What does not: how pages follow each other (`odata_pages`), what is joined
(`odata_reference`), retries and budgets (`transport`), and what a property means (`domain.odata_records`).

A reading of an OData source is spread over three lists: the document has the values, its measuring point says what they
mean (overflow limit, counting backwards) and whose they are, the equipment has the description. Points and equipment are
fetched once and joined to the documents here, so that a record that is refused later lies whole in the quarantine.
Masters need the points alone.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from cmms_pipelines.clients.envelope import Record
from cmms_pipelines.clients.odata_pages import PagedLists, encoded, link_to
from cmms_pipelines.clients.odata_reference import (
    MACHINE_PROPERTIES,
    POINT_PROPERTIES,
    Machines,
    Points,
    Reference,
    ReferenceData,
)
from cmms_pipelines.clients.on_disk import DiskNumbers
from cmms_pipelines.clients.replies import RefusedError
from cmms_pipelines.clients.transport import Transport
from cmms_pipelines.domain.errors import PermanentError
from cmms_pipelines.domain.sap_values import read_date

LONGEST_URL = 2000  # characters of path and query; gateways begin to refuse at 2,048
_NEWEST_FIRST = "Equipment,ValidityEndDate desc"


@dataclass(frozen=True)
class Version:
    """How one version of OData is asked: its paths and the spelling of literals and options."""

    plants: str
    equipment: str
    points: str
    documents: str
    orders: str
    date_literal: Callable[[dt.date], str]
    midnight_literal: Callable[[dt.date], str]
    options: Mapping[str, str]


V2 = Version(
    plants="sap/opu/odata/sap/API_PLANT_SRV/A_Plant",
    equipment="sap/opu/odata/sap/API_EQUIPMENT/Equipment",
    points="sap/opu/odata/sap/API_MEASURINGPOINT/MeasuringPoint",
    documents="sap/opu/odata/sap/API_MEASUREMENTDOCUMENT/MeasurementDocument",
    orders="sap/opu/odata/sap/API_MAINTENANCEORDER/MaintenanceOrder",
    date_literal=lambda day: f"datetime'{day.isoformat()}T00:00:00'",
    midnight_literal=lambda day: f"datetimeoffset'{day.isoformat()}T00:00:00Z'",
    options={"$format": "json", "$inlinecount": "allpages"},
)
V4 = Version(
    plants="sap/opu/odata4/sap/api_plant/srvd_a2x/sap/plant/0001/Plant",
    equipment="sap/opu/odata4/sap/api_equipment/srvd_a2x/sap/equipment/0001/Equipment",
    points="sap/opu/odata4/sap/api_measuringpoint/srvd_a2x/sap/measuringpoint/0001/MeasuringPoint",
    documents="sap/opu/odata4/sap/api_measurementdocument/srvd_a2x/sap/measurementdocument/0001/MeasurementDocument",
    orders="sap/opu/odata4/sap/api_maintenanceorder/srvd_a2x/sap/maintenanceorder/0001/MaintenanceOrder",
    date_literal=dt.date.isoformat,
    midnight_literal=lambda day: f"{day.isoformat()}T00:00:00Z",
    options={"$count": "true"},
)
VERSIONS: Mapping[str, Version] = {"odata_v2": V2, "odata_v4": V4}


class ODataApi:
    """An `ExternalApi`; one page is one page of the server."""

    def __init__(
        self, transport: Transport, version: Version, base_url: str, now: Callable[[], dt.datetime], known: ReferenceData
    ) -> None:
        """`base_url` is the transport's; `now` says which time segments of equipment have ended; `known` is filled as needed."""
        self._transport = transport
        self._version = version
        self._lists = PagedLists(transport, base_url)
        self._now = now
        self._known = known

    def __repr__(self) -> str:
        return f"ODataApi({self._transport!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._transport.close()

    def plants(self) -> list[Record]:
        try:
            return self._all(self._version.plants, {"$orderby": "Plant"}, "Plant")
        except RefusedError as error:
            if error.status == 404:
                return []
            raise

    def equipment(self, plant_codes: Sequence[str]) -> Iterator[list[Record]]:
        """Of several time segments the newest, none that has ended (quirk 34), each with its measuring point."""
        for condition in self._of_plants(self._version.equipment, self._not_ended(), plant_codes):
            for page in self._segments(condition):
                yield self._points().with_counters(page)

    def running_times(self, plant_codes: Sequence[str], start: dt.date, end: dt.date) -> Iterator[list[Record]]:
        """Documents of hour counters, each with its point and machine.

        Where documents name no plant (SAP's standard service) they are asked for by the counters of the plants' machines.
        """
        if end < start:
            raise ValueError(f"the window ends on {end}, before it starts on {start}")
        if not plant_codes:
            return
        if self._known.documents_name_plants.get(self._ask_for_plants_of_documents):
            conditions = self._of_plants(self._version.documents, self._window(start, end), plant_codes)
        else:
            points = self._reference().points_of(dict.fromkeys(plant_codes))
            conditions = self._conditions(self._version.documents, self._window(start, end), "MeasuringPoint", points)
        for condition in conditions:
            options = {"$filter": condition, "$orderby": "MeasurementDocument"}
            for page in self._pages(self._version.documents, options, "MeasurementDocument"):
                yield self._reference().hours(page)

    def work_orders(self, plant_codes: Sequence[str], start: dt.date, end: dt.date) -> Iterator[list[Record]]:
        """Orders whose last change was on one of these days, by UTC."""
        if end < start:
            raise ValueError(f"the window ends on {end}, before it starts on {start}")
        literal = self._version.midnight_literal
        window = f"LastChangeDateTime ge {literal(start)} and LastChangeDateTime lt {literal(end + dt.timedelta(days=1))}"
        for condition in self._of_plants(self._version.orders, window, plant_codes):
            options = {"$filter": condition, "$orderby": "MaintenanceOrder"}
            yield from self._pages(self._version.orders, options, "MaintenanceOrder")

    def _points(self) -> Points:
        return self._known.points.get(self._fetch_points)

    def _reference(self) -> Reference:
        return self._known.reference.get(self._fetch_reference)

    def _fetch_points(self) -> Points:
        options = {"$select": ",".join(POINT_PROPERTIES), "$orderby": "MeasuringPoint"}
        return Points(self._known.database, self._pages(self._version.points, options, "MeasuringPoint"))

    def _fetch_reference(self) -> Reference:
        select = ("Equipment", "ValidityEndDate", *MACHINE_PROPERTIES)
        machines = Machines(self._known.database, self._segments(self._not_ended(), select))
        return Reference(self._known.database, self._points(), machines)

    def _ask_for_plants_of_documents(self) -> bool:
        """Whether documents can be filtered by plant; a service that does not know the property refuses the question.

        Where it refuses for another reason, what is asked next is refused too, and that is told.
        """
        today = self._now().date()
        options = {"$top": "1", "$filter": f"{self._window(today, today)} and MaintenancePlant eq ''"}
        try:
            self._transport.page(link_to(self._version.documents, options))
        except RefusedError as error:
            if error.status in (400, 404):
                return False
            raise
        return True

    def _window(self, start: dt.date, end: dt.date) -> str:
        literal = self._version.date_literal
        return f"MsmtRdngDate ge {literal(start)} and MsmtRdngDate le {literal(end)}"

    def _not_ended(self) -> str:
        return f"ValidityEndDate ge {self._version.date_literal(self._now().date())}"

    def _segments(self, condition: str, select: Sequence[str] = ()) -> Iterator[list[Record]]:
        """Equipment of a filter, one segment of each: they are asked for by number, the newest first."""
        options = {"$filter": condition, "$orderby": _NEWEST_FIRST}
        if select:
            options["$select"] = ",".join(select)
        today = self._now().date()
        with DiskNumbers() as newest_ends:  # by machine, as ordinals of days
            for page in self._pages(self._version.equipment, options, "Equipment", "ValidityEndDate"):
                known = newest_ends.of(str(record.get("Equipment")) for record in page)
                of_page: dict[str, int] = {}
                current = []
                for record in page:
                    number, end = str(record.get("Equipment")), _end_of(record) or dt.date.max
                    newest = known.get(number, of_page.get(number))
                    if newest is None:
                        of_page[number] = end.toordinal()
                        current += [record] if end >= today else []
                    elif end.toordinal() > newest:
                        raise PermanentError(
                            f"{self._version.equipment}: a newer time segment of equipment {number} came after an older one: "
                            "the source does not sort by $orderby"
                        )
                newest_ends.update(of_page)
                yield current

    def _of_plants(self, endpoint: str, condition: str, plant_codes: Iterable[str]) -> Iterator[str]:
        return self._conditions(endpoint, condition, "MaintenancePlant", dict.fromkeys(plant_codes))

    def _conditions(self, endpoint: str, condition: str, name: str, values: Iterable[str]) -> Iterator[str]:
        """Filters for which `condition` holds and `name` is one of some values, as many at a time as an URL can hold."""
        room = LONGEST_URL - len(link_to(endpoint, {"$filter": condition, "$orderby": _NEWEST_FIRST, **self._version.options}))
        batch: list[str] = []
        length = 0
        for value in values:
            part = f"{name} eq {_literal(value)}"
            size = len(encoded(f" or {part}"))
            if batch and length + size > room:
                yield f"{condition} and ({' or '.join(batch)})"
                batch, length = [], 0
            batch.append(part)
            length += size
        if batch:
            yield f"{condition} and ({' or '.join(batch)})"

    def _all(self, endpoint: str, options: Mapping[str, str], *key: str) -> list[Record]:
        return [record for page in self._pages(endpoint, options, *key) for record in page]

    def _pages(self, endpoint: str, options: Mapping[str, str], *key: str) -> Iterator[list[Record]]:
        return self._lists.pages(endpoint, {**options, **self._version.options}, key)


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


def _end_of(record: Record) -> dt.date | None:
    try:
        return read_date(record.get("ValidityEndDate"))
    except ValueError:
        return None  # the contract's business, not the pager's
