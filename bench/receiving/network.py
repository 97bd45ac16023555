"""A slow network between two parts of the system: a TCP proxy that holds back every byte, each way, by a delay with jitter.

What belongs here: the proxy. What does not: what is measured through it. Bytes of one direction keep their order, as TCP has it.
The tests use it too, so it imports nothing of the benchmark.
"""

import asyncio
import contextlib
import random
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass

_AT_ONCE = 65_536


@dataclass(frozen=True)
class Delay:
    """How long a byte takes one way: `ms` and up to `jitter_ms` more."""

    ms: float
    jitter_ms: float = 0.0

    def drawn_s(self, chance: random.Random) -> float:
        return (self.ms + chance.uniform(0, self.jitter_ms)) / 1000


class SlowNetwork:
    """The proxy: accepts connections on `port` of the loopback and passes them on to a host and port, slowly."""

    def __init__(self, host: str, port: int, delay: Delay, seed: int = 7) -> None:
        self._target, self._delay = (host, port), delay
        self._chance = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0

    async def serve(self, started: threading.Event, is_over: asyncio.Event) -> None:
        """Serve until `is_over`; `port` is known once `started`."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, backlog=2048)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await is_over.wait()
        server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)
        try:
            there_reader, there_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        try:
            await _first_to_end(self._pass_on(reader, there_writer), self._pass_on(there_reader, writer))
        except asyncio.CancelledError:
            return  # the end of the network, which nobody waits for here
        finally:
            writer.close()
            there_writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        arriving = asyncio.create_task(_arrive(under_way, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(_AT_ONCE):
                    under_way.put_nowait((loop.time() + self._delay.drawn_s(self._chance), data))
            await under_way.join()
        finally:
            arriving.cancel()


async def _arrive(under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter) -> None:
    """Hand on what is under way in its order, each piece when it is due and the ones before are through."""
    loop = asyncio.get_running_loop()
    while True:
        due, data = await under_way.get()
        if (wait_s := due - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        writer.write(data)
        under_way.task_done()


async def _first_to_end(*directions: Coroutine[None, None, None]) -> None:
    """Pass both ways until one side has nothing more to say: HTTP and PostgreSQL close as a whole."""
    tasks = [asyncio.create_task(direction) for direction in directions]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def slow_network(host: str, port: int, delay: Delay) -> Iterator[int]:
    """Give the port of the loopback that leads to `host` and `port` through a slow network, in a thread of its own."""
    network, started, is_over = SlowNetwork(host, port, delay), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    def run() -> None:
        with contextlib.closing(loop):
            loop.run_until_complete(network.serve(started, is_over))

    thread = threading.Thread(target=run, name="slow-network")
    thread.start()
    try:
        started.wait(10)
        yield network.port
    finally:
        loop.call_soon_threadsafe(is_over.set)
        thread.join(10)
