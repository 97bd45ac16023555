"""The external system of the benchmark: a process that serves replies which it has rendered before, so that serving costs little.

It speaks the dialect `ims` (`GET /v0/equipments` with the plants in the body) and serves the same records by page numbers for
clients that page (`GET /v0/pages/equipments?page=1`), as many records a page as `ims` has in a reply. `/v1` is the variant in
which a tenth differs. `POST /prepare?days=10&variant=0` renders; nothing else is served than what was prepared.

    python -m syncing.source --machines 100000 --plants 100 [--latency-ms 200]

The first line of its output is its address.
"""

import argparse
import asyncio
import datetime as dt
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import orjson
import uvicorn

from syncing.records import FIRST_DAY, PLANTS_PER_CALL, VARIANTS, World

TOKEN = "benchmark-token"  # noqa: S105 - of a server on the loopback, for the length of one run

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Source:
    """An ASGI application over prepared bytes."""

    def __init__(self, world: World, latency_s: float) -> None:
        self._world = world
        self._latency_s = latency_s
        self._plant = {code: number for number, code in enumerate(world.plant_codes)}
        self._equipment: dict[int, list[bytes]] = {}
        self._readings: dict[tuple[int, int], list[bytes]] = {}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()}
        path = scope["path"].strip("/").split("/")
        if path == ["prepare"]:
            await _answer(send, [orjson.dumps({"bytes": self._prepare(int(query["days"]), int(query["variant"]))})])
            return
        if dict(scope["headers"]).get(b"authorization") != TOKEN.encode():
            await _answer(send, [b'{"error":"unauthorized"}'], 401)
            return
        if self._latency_s:
            await asyncio.sleep(self._latency_s)
        variant, *endpoint = path
        if endpoint == ["plants"]:
            await _answer(send, [self._world.plants_json()])
        elif endpoint[0] == "pages":
            await _answer(send, self._page(int(variant[1:]), endpoint[1:], query))
        else:
            plants = [self._plant[code] for code in orjson.loads(await _body(receive))["plant"] if code in self._plant]
            await _answer(send, [b'{"data":[', *_joined(self._parts(int(variant[1:]), endpoint, query, plants)), b"]}"])

    def _prepare(self, days: int, variant: int) -> int:
        plants = range(self._world.plants)
        self._equipment[variant] = [self._world.equipment_json(plant, variant) for plant in plants]
        for day in range(days):
            if (variant, day) not in self._readings:
                self._readings[variant, day] = [self._world.readings_json(plant, day, variant) for plant in plants]
        return sum(len(part) for parts in self._readings.values() for part in parts)

    def _parts(self, variant: int, endpoint: list[str], query: dict[str, str], plants: list[int]) -> list[bytes]:
        if endpoint == ["equipments"]:
            return [self._equipment[variant][plant] for plant in plants]
        return [self._readings[variant, day][plant] for day in _days(query) for plant in plants]

    def _page(self, variant: int, endpoint: list[str], query: dict[str, str]) -> list[bytes]:
        batches = [
            list(range(self._world.plants))[at : at + PLANTS_PER_CALL] for at in range(0, self._world.plants, PLANTS_PER_CALL)
        ]
        page = int(query["page"]) - 1
        if endpoint == ["equipments"]:
            pages = len(batches)
            parts = self._parts(variant, endpoint, query, batches[page])
        else:
            days = _days(query)
            pages = len(batches) * len(days)
            day, batch = divmod(page, len(batches))
            parts = [self._readings[variant, days[day]][plant] for plant in batches[batch]]
        return [b'{"total_pages":%d,"data":[' % pages, *_joined(parts), b"]}"]


def _days(query: dict[str, str]) -> range:
    first, last = ((dt.date.fromisoformat(query[name]) - FIRST_DAY).days for name in ("start_date", "end_date"))
    return range(first, last + 1)


def _joined(parts: list[bytes]) -> list[bytes]:
    separated: list[bytes] = []
    for part in filter(None, parts):
        separated += [b",", part] if separated else [part]
    return separated


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def _answer(send: Send, parts: list[bytes], status: int = 200) -> None:
    body = b"".join(parts)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, required=True)
    parser.add_argument("--plants", type=int, required=True)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    source = Source(World(arguments.machines, arguments.plants), arguments.latency_ms / 1000)
    for variant in VARIANTS:
        source._prepare(0, variant)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(source, log_level="warning", access_log=False)).run(sockets=[listening])


if __name__ == "__main__":
    main()
