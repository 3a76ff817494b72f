"""A real client and the emulator of the service, with everything that can happen between them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from properties.promises import FAILURES, Unlucky
from support.dispatching import QUIET, Outcome

from autoconfig import EnvironmentID, FilterID, FilterKey, HandlerErrors, RetryPolicy, StreamManager
from autoconfig.messages import EnvironmentRep, FilterRep
from autoconfig.testing import Emulator, End

DEADLINE = 30.0  # seconds until the client counts as lost; it needs milliseconds
_LOOK = 0.01  # seconds after which to look again at what is not announced: a change that is pending no more
_PAUSE = 0.003  # seconds
MARK = EnvironmentID("mark")
_INITIAL_DELAY, _MAX_DELAY = 0.005, 0.02  # seconds

Framing = Literal["chunked", "close"]
Operation = tuple[Any, ...]
"""The name of a method of :class:`World` and its arguments."""


def payload_filter(id: str) -> FilterRep:
    """Return a filter; all but its version follows from the id, because there is no call for a filter's update."""
    return FilterRep(f"project-{id}", FilterKey(f"key-{id}"), 1)


class World:
    """
    The emulator, the client and its handler, which raises at random.

    Args:
        seed: Of the random numbers that say which calls raise.
        rate: The share of the calls that raise.
        framing: The emulator's: ``"chunked"`` has the client read each event by itself, ``"close"`` many at once.
    """

    def __init__(self, seed: int, rate: float, framing: Framing) -> None:
        chance = random.Random(seed)

        def outcome() -> Outcome:
            return chance.choice(FAILURES) if chance.random() < rate else "succeed"

        self.handler = Unlucky(outcome)
        self.history: dict[str, list[EnvironmentRep]] = {}  # each environment as it ever was, the newest last
        self._emulator = Emulator(framing=framing)
        self._stalled = False
        self._manager: StreamManager

    def run(self, operations: Iterable[Operation]) -> None:
        """Let a new client follow while everything happens; return when it has caught up with it and is closed."""
        with self._emulator:
            self._manager = StreamManager(
                self._emulator.key,
                self._emulator.uri,
                self.handler,
                initial_retry_delay=_INITIAL_DELAY,
                logger=QUIET,
                retry_policy=RetryPolicy(max_delay=_MAX_DELAY),
                handler_errors=HandlerErrors(RetryPolicy(max_delay=_MAX_DELAY), initial_delay=_INITIAL_DELAY),
            )
            with self._manager:
                self._do(operations)
                self.resume()
                self.catch_up()
            self._check()  # nothing that was still on its way has changed anything

    def catch_up(self) -> None:
        """Wait until the client has everything; during a stall it cannot."""
        if self._stalled:
            return
        self._wait()
        # Once more, with a change: what was equal by chance, before the client had even connected, is equal now.
        self.set_environment(EnvironmentRep(MARK, env_name=f"mark {len(self.history.get(MARK, []))}"))
        self._remember()
        self._wait()

    def burst(self, operations: Iterable[Operation]) -> None:
        """Have the client receive all at once what some operations send."""
        self.catch_up()
        self.stall()
        self._do(operations)
        self.resume()

    def pause(self) -> None:
        """Let the client do something, or nothing."""
        with self.handler.changed:
            self.handler.changed.wait(_PAUSE)

    def _wait(self) -> None:
        """Wait until the handler has what the service has, and nothing is pending."""
        deadline = time.monotonic() + DEADLINE
        with self.handler.changed:
            while not self._has_caught_up():
                assert time.monotonic() < deadline, f"not caught up: {self._differences()}, {self._manager.status}"
                self.handler.changed.wait(_LOOK)

    def set_environment(self, rep: EnvironmentRep) -> None:
        self._emulator.set_environment(rep)

    def delete_environment(self, id: EnvironmentID) -> None:
        if id in self._emulator.environments:
            self._emulator.delete_environment(id)

    def rotate(self, id: EnvironmentID, key: str) -> None:
        if id in self._emulator.environments:
            self._emulator.rotate_sdk_key(id, key)

    def set_filter(self, id: str) -> None:
        self._emulator.set_filter(id, payload_filter(id))

    def delete_filter(self, id: FilterID) -> None:
        if id in self._emulator.filters:
            self._emulator.delete_filter(id)

    def replace(self, environments: list[EnvironmentRep], filters: list[str]) -> None:
        self._emulator.replace(environments, {id: payload_filter(id) for id in filters})

    def send_put(self) -> None:
        self._emulator.send_put()

    def send_reconnect(self) -> None:
        self._emulator.send_reconnect()

    def send_malformed(self) -> None:
        self._emulator.send_malformed()

    def send_unknown(self, name: str, data: str) -> None:
        self._emulator.send_event(name, data)

    def send_line(self, line: bytes) -> None:
        self._emulator.send_raw(line + b"\n")

    def fail_next(self, status: int, times: int) -> None:
        self._emulator.fail_next(status, times)

    def drop(self, how: End) -> None:
        self._emulator.drop_connections(how)

    def stall(self) -> None:
        self._stalled = True
        self._emulator.stall()

    def resume(self) -> None:
        self._stalled = False
        self._emulator.resume()

    def _do(self, operations: Iterable[Operation]) -> None:
        for name, *arguments in operations:
            getattr(self, name)(*arguments)
            self._remember()

    def _remember(self) -> None:
        for id, rep in self._emulator.environments.items():
            states = self.history.setdefault(id, [])
            if not states or states[-1] != rep:
                states.append(rep)

    def _has_caught_up(self) -> bool:
        status = self._manager.status
        return not self._differences() and not status.pending_retries and not status.queued_batches

    def _differences(self) -> dict[str, Any]:
        """Return what the handler has and what the service has, of the items in which they differ."""
        has: dict[str, Any] = {**self.handler.environments}
        has |= {f"filter {id}": params for id, params in self.handler.filters.items()}
        wanted: dict[str, Any] = {id: rep.to_params() for id, rep in self._emulator.environments.items()}
        wanted |= {f"filter {id}": rep.to_params(id) for id, rep in self._emulator.filters.items()}
        return {id: (has.get(id), wanted.get(id)) for id in has | wanted if has.get(id) != wanted.get(id)}

    def _check(self) -> None:
        assert not self._differences()
        assert self.handler.broken == []
        states = {id: iter([rep.to_params() for rep in reps]) for id, reps in self.history.items()}
        for name, params in self.handler.returned:
            if name in ("add_environment", "update_environment"):
                # Takes states until one is equal: each call's is later than that of the call before.
                assert params in states[params.env_id], f"outdated, repeated or made up: {params}"


def named(id: str, rep: EnvironmentRep) -> EnvironmentRep:
    """Return the environment under an id."""
    return msgspec.structs.replace(rep, env_id=EnvironmentID(id))
