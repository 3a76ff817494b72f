"""
What one would use without this library: SSE clients from PyPI, in a loop on the main thread.

Each function imports what it needs and returns the client; so the memory of the imports is known before it runs.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

from .peer_work import Work
from .sinks import Sink

Follow = Callable[[str, Sink], dict[str, float]]
"""Follows the stream below a base URL until the sink is done; returns further measurements, usually none."""

PATH = "/relay_auto_config"
TIMEOUT = 60.0  # seconds of silence
_HEADERS = {"Accept": "text/event-stream", "Authorization": "rel-benchmark"}


def naive(work: Work) -> Follow:
    """requests and sseclient-py as their READMEs show them; reads 128 bytes at a time."""
    import requests
    import sseclient

    def follow(url: str, sink: Sink) -> dict[str, float]:
        take = work(sink)
        with requests.get(url + PATH, headers=_HEADERS, stream=True, timeout=TIMEOUT) as response:
            for event in sseclient.SSEClient(response).events():  # type: ignore[arg-type]  # as in the README
                take(event.event, event.data)
                if sink.done:
                    break
        return {}

    return follow


def naive_queued(work: Work) -> Follow:
    """The naive loop in a thread of its own, which hands each event on through a ``queue.Queue``."""
    import requests
    import sseclient

    def follow(url: str, sink: Sink) -> dict[str, float]:
        take = work(sink)
        events: queue.Queue[Any] = queue.Queue(8)

        def read() -> None:
            with requests.get(url + PATH, headers=_HEADERS, stream=True, timeout=TIMEOUT) as response:
                for event in sseclient.SSEClient(response).events():  # type: ignore[arg-type]  # as in the README
                    events.put(event)
                    if sink.done:
                        break

        threading.Thread(target=read, daemon=True).start()
        while not sink.done:
            event = events.get()
            take(event.event, event.data)
        return {}

    return follow


def launchdarkly(work: Work) -> Follow:
    """LaunchDarkly's own SSE client, on urllib3."""
    from ld_eventsource import SSEClient
    from ld_eventsource.config import ConnectStrategy

    def follow(url: str, sink: Sink) -> dict[str, float]:
        take = work(sink)
        client = SSEClient(ConnectStrategy.http(url + PATH, headers=_HEADERS))
        for event in client.events:
            take(event.event, event.data)
            if sink.done:
                break
        client.close()
        return {}

    return follow
