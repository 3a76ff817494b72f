"""Memory: of a process, and what the library itself keeps for an environment when the handler keeps nothing."""

from __future__ import annotations

import gc
import time
import tracemalloc
from pathlib import Path
from typing import cast

_SETTLING = 0.3  # seconds after the last callback, for the threads to go back to waiting
_SMALL = 100  # environments


def resident(field: str = "VmRSS") -> float:
    """
    Return a line of /proc/self/status in MB.

    Not ``ru_maxrss``: a process inherits that from its parent, across exec too.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def kept_bytes(url: str) -> float:
    """
    Return the bytes kept for each environment of a ``put/N``.

    The difference between that put and one of 100: what a manager costs without environments is not counted.
    """
    base, _, count = url.rpartition("/")
    _kept(f"{base}/{_SMALL}")  # fills caches, of imports for example
    tracemalloc.start()
    small = _kept(f"{base}/{_SMALL}")
    large = _kept(url)
    return (large - small) / (int(count) - _SMALL)


def _kept(url: str) -> int:
    from autoconfig import MessageHandler, StreamManager

    from .clients import handler_of
    from .sinks import Sink

    before = _traced()
    sink = Sink(0)
    with StreamManager("rel-benchmark", url, cast(MessageHandler, handler_of(sink))):
        sink.finished.wait()
        time.sleep(_SETTLING)
        return _traced() - before


def _traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]
