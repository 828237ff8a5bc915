"""tune_allocator: keep big buffers in the process instead of returning them to the kernel after every use."""

import ctypes
import sys

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_KEEP_EVERYTHING = 2**31 - 1  # the largest threshold that fits the int argument; heaps are trimmed above it only
_GROW_BY = 256 * 2**20  # bytes


def tune_allocator() -> bool:
    """Make glibc's malloc keep freed memory, so that training on a CPU does not pay page faults for every big map.

    By default glibc maps each large buffer anew and unmaps it when it is freed; the kernel then clears every page of it
    again, which takes longer than most operations on it. Call this once, before the first large tensor. The process
    keeps its peak memory until it ends. It is never called at import; the command line calls it.

    Returns:
        Whether the allocator was tuned: False where malloc is not glibc's (macOS, Windows, musl), which is no error.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _KEEP_EVERYTHING), (_M_TOP_PAD, _GROW_BY))
    return all([mallopt(parameter, value) == 1 for parameter, value in settings])
