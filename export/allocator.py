"""The C library's memory: keep what is freed, for a process whose work is training."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LIMIT = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let glibc keep the blocks that tensors give back, in place of handing them to the kernel.

    Feature maps are larger than what glibc keeps by default, so that each step would map them anew,
    page by page: a third of the CPU time of a ProtoNet step on conv-4. The process then never
    shrinks before it ends. It concerns the whole process: for programs, not for libraries.

    Returns:
        Whether it is done; False where the C library is another one.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no such function; no such way to look for it
        return False
    mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    mallopt.restype = ctypes.c_int
    return all(mallopt(which, _LIMIT) for which in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
