"""What becomes of the memory of large messages."""

import ctypes
import sys
from typing import Final

M_MMAP_THRESHOLD: Final = -3  # malloc.h
THRESHOLD: Final = 1024 * 1024


def return_large_blocks() -> None:
    """Give blocks of 1 MiB and more back to the system when they are freed.

    By default glibc's malloc keeps blocks of up to 32 MiB for later once one has been freed (mallopt(3),
    M_MMAP_THRESHOLD), in each thread: a command of 8 MiB, of which several copies are made, left 300 MB behind.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and keeps none
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, THRESHOLD)
