"""A source that serves just what a test says, in the dialect `ims`."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse

from cmms_pipelines.emulator.server import listen
from tests.emulator_server import Emulator, running


class Served:
    """What the source has now: masters, and readings of which each call gets those of its plants.

    Attributes:
        masters: of all plants.
        readings: of all plants and days.
        is_by_day: a call for readings gets those of its days alone, as of a real source.
        delay_s: what a call for readings waits before it is answered.
        stream: text of a whole reply to any question for readings, in place of `readings`.
    """

    def __init__(self) -> None:
        self.masters: list[dict[str, Any]] = []
        self.readings: list[dict[str, Any]] = []
        self.is_by_day = False
        self.delay_s: Callable[[], float] = float
        self.stream: Callable[[], Iterable[bytes]] | None = None


@contextmanager
def serving() -> Iterator[tuple[Emulator, Served]]:
    """A server for the time of the block."""
    served = Served()
    app = FastAPI(openapi_url=None)

    async def of_plants(request: Request, records: list[dict[str, Any]]) -> Response:
        plants = orjson.loads(await request.body())["plant"]
        chosen = [record for record in records if (record.get("SWERK") or "") in plants]
        return Response(orjson.dumps({"data": chosen}), media_type="application/json")

    @app.get("/equipments")
    async def masters(request: Request) -> Response:
        return await of_plants(request, served.masters)

    @app.get("/equipments/jam-jalan")
    async def readings(request: Request) -> Response:
        if served.stream is not None:
            return StreamingResponse(served.stream(), media_type="application/json")
        await asyncio.sleep(served.delay_s())
        first, last = request.query_params["start_date"], request.query_params["end_date"]
        wanted = (one for one in served.readings if not served.is_by_day or first <= one["DATE"] <= last)
        return await of_plants(request, list(wanted))

    with listen("127.0.0.1", 0) as server_socket, running(app, server_socket) as url:
        yield Emulator(url, "token"), served
