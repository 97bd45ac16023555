"""How a process that syncs keeps memory: what a chunk has freed goes back, so that the peak is that of the chunks in flight.

What belongs here: the allocators of the process. What does not: how large a chunk is (`sync.chunks`).
"""

import ctypes
import sys
from collections.abc import Callable
from functools import cache

import pyarrow as pa

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h
_LARGE_BYTES = 1 << 20
_ARENAS = 2  # by default eight a core, each of which keeps what its threads have freed


def trim() -> None:
    """Give back at once what is free between pieces that are still used, which glibc does at the ends of its arenas alone."""
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def return_freed_memory() -> None:
    """Have Arrow and glibc give freed memory back; once a process. Where the C library is another one, it does as it does."""
    pa.set_memory_pool(pa.system_memory_pool())  # the default one keeps what chunks have freed
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
