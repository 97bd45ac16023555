"""How a process that syncs keeps memory: what a chunk has freed goes back, so that the peak is that of the chunks in flight.

What belongs here: the allocators of the process, and the most that it has had. What does not: the size of a chunk
(`sync.chunks`).
"""

import ctypes
import resource
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

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


def peak_mb() -> int:
    """Return the most memory that this program has had at any time, in MB.

    The operating system's own figure for the process counts what the program that started it had before, where Linux tells.
    """
    status = Path("/proc/self/status")
    if status.exists():
        of_program = [int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        if of_program:
            return of_program[0] >> 10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)  # macOS counts bytes


@cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
