"""
The clients by name: this library, its peers with the least work and with equal work, and floors.

All receive, decode every event's JSON, and make one trivial call for each environment. Only this library also hands
over between two threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import cast

from . import floors, peers
from .peer_work import equal, least
from .peers import Follow
from .sinks import Sink

OURS = "autoconfig"
NAIVE = "naive"
NAIVE_QUEUED = "naive+queue"
LAUNCHDARKLY = "launchdarkly-eventsource"
LAUNCHDARKLY_EQUAL = "launchdarkly-eventsource+equal"
FLOOR = "receive"
JSON_FLOOR = "receive+json"


def _autoconfig() -> Follow:
    """StreamManager with a handler whose methods are the sink's own."""
    from autoconfig import MessageHandler, StreamManager

    def follow(url: str, sink: Sink) -> dict[str, float]:
        with StreamManager("rel-benchmark", url, cast(MessageHandler, handler_of(sink))):
            sink.finished.wait()
        return {}

    return follow


def handler_of(sink: Sink) -> SimpleNamespace:
    """Return a handler that adds no call of its own."""
    return SimpleNamespace(
        add_environment=sink.added,
        update_environment=sink.changed,
        received_all_environments=sink.put_ended,
        delete_environment=print,
        add_filter=print,
        delete_filter=print,
    )


CLIENTS: dict[str, Callable[[], Follow]] = {
    OURS: _autoconfig,
    NAIVE: partial(peers.naive, least),
    NAIVE_QUEUED: partial(peers.naive_queued, least),
    LAUNCHDARKLY: partial(peers.launchdarkly, least),
    LAUNCHDARKLY_EQUAL: partial(peers.launchdarkly, equal),
    FLOOR: floors.receive,
    JSON_FLOOR: floors.receive_json,
}
