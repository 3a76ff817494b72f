"""A connector as the tests of ``autoconfig.stream`` need it, and a token that tells what it is asked to watch."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autoconfig import HTTPConfig
from autoconfig.stream.cancel import CancelToken
from autoconfig.stream.connection import Connector, endpoint

KEY = "rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a"
LONG = 60.0  # seconds; a timeout that ought to play no part


def connector(url: str, token: CancelToken | None = None, **config: Any) -> Connector:
    """Return a connector to the endpoint of a base URL."""
    config = {"connect_timeout": 5.0, "read_timeout": 5.0, **config}
    return Connector(lambda: KEY, endpoint(url, 2), HTTPConfig(**config), token or CancelToken())


def read(url: str, size: int, last_event_id: str = "", **config: Any) -> bytes:
    """Connect, and return the first bytes of the stream, at least so many."""
    with connector(url, **config).connect(last_event_id) as pieces:
        return read_from(pieces, size)


def read_from(pieces: Iterator[bytes], size: int) -> bytes:
    """Return the next bytes of a stream, at least so many."""
    received = b""
    while len(received) < size:
        received += next(pieces)
    return received


@contextmanager
def promptly() -> Iterator[None]:
    """Fail if the block takes as long as a timeout that ought to play no part; a good one takes milliseconds."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < LONG / 2


class WatchfulToken(CancelToken):
    """
    A token that notes each socket that it is asked to watch.

    Attributes:
        connected: For each of them, whether it had been connected by then.
        asked: Set from the first one on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connected: list[bool] = []
        self.asked = threading.Event()

    def watch(self, original: socket.socket | int) -> None:
        super().watch(original)
        descriptor = original if isinstance(original, int) else original.fileno()
        with socket.socket(fileno=os.dup(descriptor)) as duplicate:
            try:
                duplicate.getpeername()
            except OSError:
                self.connected.append(False)
            else:
                self.connected.append(True)
        self.asked.set()
