"""Two settings that make the service cheaper; both apply per process."""

import ctypes
import logging


def keep_heap():
    """Every decoded image is a large allocation.  As shipped, glibc returns it to
    the kernel when it is freed, and the next one faults all its pages in again."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # not glibc
    mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD
    mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD


def quiet():
    """kserve writes three or four log lines per request unless told otherwise."""
    for name in ("kserve.trace", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
