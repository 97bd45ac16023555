"""How a body began, for messages about one that never came to its end.

What belongs here: the first bytes as they came over the wire, and what can be read of them. What does not: how many of them
are shown, and without which secrets (`replies`).
"""

import contextlib
import zlib
from collections.abc import Iterator
from typing import cast

import httpx

from cmms_pipelines.clients.replies import LOOKED_AT_BYTES

_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class Beginning(httpx.SyncByteStream):
    """The body of a reply, which goes through here on its way and leaves its first bytes."""

    def __init__(self, response: httpx.Response) -> None:
        """Put itself between the connection and the reply, of which nothing may have been read."""
        self._stream = cast(httpx.SyncByteStream, response.stream)
        self._is_packed = "content-encoding" in response.headers
        self._kept = bytearray()
        response.stream = self

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            if len(self._kept) < LOOKED_AT_BYTES:
                self._kept += part[:LOOKED_AT_BYTES]
            yield part

    def close(self) -> None:
        self._stream.close()

    def read(self) -> bytes:
        """Return the first bytes, unpacked up to where they are damaged; as they came if nothing can be unpacked."""
        unpacked = bytearray()
        if self._is_packed:
            unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
            with contextlib.suppress(zlib.error):
                for position in range(len(self._kept)):  # one by one: an error takes with it what its piece had given
                    unpacked += unpacker.decompress(self._kept[position : position + 1], LOOKED_AT_BYTES)
        return bytes(unpacked or self._kept)
