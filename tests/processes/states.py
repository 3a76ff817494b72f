"""What a manager can be doing when its process forks or ends: one service for each, and how to tell it got there."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from processes.control import KEY, WAITING
from support.addresses import black_hole, connecting_to
from support.peer import Peer, accepted_and_silent, flood
from support.samples import environment
from support.waiting import wait_until

from autoconfig.testing import Emulator

ENVIRONMENTS = [environment("one"), environment("two")]


class State(NamedTuple):
    """
    A service that keeps managers in a state.

    Attributes:
        url: Where managers have to connect.
        reached: Waits until one is in the state, as far as can be seen from here.
        calls: How many calls of the handler must have come, too.
        failures: How many failed attempts it must have seen.
    """

    url: str
    reached: Callable[[], object] = lambda: None
    calls: int = 0
    failures: int = 0


STATES = ["idle", "flood", "stalled", "black hole", "back-off", "TLS", "TLS flood", "TLS stalled"]


@contextmanager
def service(name: str, certificates: dict[str, str], context: ssl.SSLContext) -> Iterator[State]:
    """Yield one of ``STATES``."""
    with ExitStack() as stack:
        yield _enter(stack, name, certificates, context)


def _enter(stack: ExitStack, name: str, certificates: dict[str, str], context: ssl.SSLContext) -> State:
    tls = context if name.startswith("TLS") else None
    if name == "black hole":
        url = stack.enter_context(black_hole())
        return State(url, lambda: wait_until(lambda: connecting_to(url), "a connection that is being made"))
    if name.endswith("flood"):
        return State(stack.enter_context(Peer(flood, tls)).url, calls=500)
    if name == "TLS stalled":
        peer = stack.enter_context(Peer(accepted_and_silent, tls))
        return State(peer.url, peer.wait_until_reached)
    certificate = (certificates["chain"], certificates["key"]) if tls else None
    emulator = stack.enter_context(Emulator(ENVIRONMENTS, key=KEY, certificate=certificate))
    if name == "stalled":
        emulator.stall()
        return State(emulator.uri, lambda: emulator.wait_for_requests(1, WAITING))
    if name == "back-off":
        emulator.fail_next(503)
        return State(emulator.uri, failures=1)
    return State(emulator.uri, calls=len(ENVIRONMENTS) + 1)
