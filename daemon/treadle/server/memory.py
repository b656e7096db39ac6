"""Return the memory of large messages to the system."""

import ctypes
import sys
from typing import Final

M_MMAP_THRESHOLD: Final = -3  # malloc.h
THRESHOLD: Final = 1024 * 1024


def return_large_blocks() -> None:
    """Make malloc return blocks of 1 MiB and more to the system when they are freed.

    By default, once a large block was freed, glibc's malloc keeps blocks of up to 32 MiB for reuse, in each thread
    (mallopt(3), M_MMAP_THRESHOLD): one command of 8 MiB, of which several copies are made, left 300 MB allocated.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has no mallopt, and keeps no large blocks
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, THRESHOLD)
