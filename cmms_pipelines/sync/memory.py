"""How a process that syncs keeps memory: what a chunk has freed goes back, so that the peak is that of the chunks in flight.

What belongs here: the allocators of the process. What does not: how large a chunk is (`sync.chunks`).
"""

import ctypes
import sys
from functools import cache

import pyarrow as pa

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of glibc's malloc.h
_LARGE_BYTES = 1 << 20
_ARENAS = 2  # by default eight a core, each of which keeps what its threads have freed


@cache
def return_freed_memory() -> None:
    """Have Arrow and glibc give freed memory back; once a process. Where the C library is another one, it does as it does."""
    pa.set_memory_pool(pa.system_memory_pool())  # the default one keeps what chunks have freed
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, _ARENAS)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
