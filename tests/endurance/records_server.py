"""A real HTTP server that speaks the dialect `ims` over records that a test brings along."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response

from cmms_pipelines.emulator.server import listen
from tests.emulator_server import TOKEN, Emulator, running

Record = Mapping[str, Any]


class Records:
    """Plants, masters and readings as the source sends them; each may be replaced while the server runs."""

    def __init__(self, plants: Sequence[Record], equipment: Iterable[Record], readings: Iterable[Record]) -> None:
        self.plants = plants
        self._equipment: defaultdict[str, list[bytes]] = defaultdict(list)
        self._readings: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        for record in equipment:
            self._equipment[record["SWERK"]].append(orjson.dumps(record))
        self.add(readings)

    def add(self, readings: Iterable[Record]) -> None:
        """Readings that the source has from now on."""
        for record in readings:
            self._readings[record["SWERK"], record["DATE"]].append(orjson.dumps(record))

    def equipment_of(self, plants: Sequence[str]) -> list[bytes]:
        return [record for plant in plants for record in self._equipment.get(plant, [])]

    def readings_of(self, plants: Sequence[str], start: date, end: date) -> list[bytes]:
        days = [(start + timedelta(days=number)).isoformat() for number in range((end - start).days + 1)]
        return [record for plant in plants for day in days for record in self._readings.get((plant, day), [])]


@contextmanager
def serving(records: Records) -> Iterator[Emulator]:
    app = FastAPI(openapi_url=None)

    @app.get("/plants")
    async def plants() -> Response:
        return _reply(map(orjson.dumps, records.plants))

    @app.get("/equipments")
    async def equipment(request: Request) -> Response:
        return _reply(records.equipment_of(orjson.loads(await request.body())["plant"]))

    @app.get("/equipments/jam-jalan")
    async def readings(request: Request, start_date: date, end_date: date) -> Response:
        return _reply(records.readings_of(orjson.loads(await request.body())["plant"], start_date, end_date))

    with listen("127.0.0.1", 0) as server_socket, running(app, server_socket) as url:
        yield Emulator(url, TOKEN)


def _reply(records: Iterable[bytes]) -> Response:
    return Response(b'{"data":[' + b",".join(records) + b"]}", media_type="application/json")
