"""
WSGI applications for gunicorn that follow a stream: ``wrong`` does so from the import on, ``right`` in each worker.

``wrong`` is looked up as an attribute of the module, which is how gunicorn imports an application; ``right`` starts at
its first request, unless the hook in ``hooks.py`` has started it before.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from processes.handlers import DEADLINE, Counter

from autoconfig import AutoConfigError, StreamManager

logging.basicConfig(level=logging.INFO, format="%(process)d %(levelname)s %(name)s %(message)s")


class Following:
    """A manager that was started, and its handler."""

    def __init__(self) -> None:
        self.handler = Counter()
        self.manager = StreamManager(os.environ["STREAM_KEY"], os.environ["STREAM_URI"], self.handler)
        self.ready = self.manager.start()

    def names(self) -> list[str]:
        """Return the environments' names, once the first ones have come."""
        self.handler.wait_for_count(1, DEADLINE)
        return sorted(self.handler.names.values())


@functools.cache
def following() -> Following:
    """Return the one of this process."""
    return Following()


def right(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer with the environments."""
    return _answer(start_response, names=following().names())


def at_import(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Answer with what can be done with a manager that the import has started; nothing of it may take long."""
    begin = time.monotonic()
    manager = following().manager
    try:
        manager.join()
    except AutoConfigError as error:
        raised = type(error).__name__
    closed = manager.close()
    return _answer(
        start_response, raised=raised, closed=closed, state=manager.status.state.name, took=time.monotonic() - begin
    )


def __getattr__(name: str) -> Callable[..., list[bytes]]:
    if name != "wrong":
        raise AttributeError(name)
    following()
    return at_import


def _answer(start_response: Callable[..., object], **values: Any) -> list[bytes]:
    body = json.dumps({"pid": os.getpid(), **values}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
