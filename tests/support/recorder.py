"""Handlers that record their calls and let a test wait for them; some act, fail or wait inside a call."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from autoconfig.environments import EnvironmentParams, FilterParams
from autoconfig.identifiers import EnvironmentID, FilterID

LIMIT = 30.0  # seconds for anything that a test waits for


class Recorder:
    """
    Implements ``MessageHandler``: every call goes onto a list, for looking back, and onto a queue, for waiting.

    Attributes:
        calls: All calls so far as (name, argument), also those that a test has already waited for.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.queue: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._changed = threading.Condition()  # guards calls

    def add_environment(self, params: EnvironmentParams) -> None:
        self._record("add_environment", params)

    def update_environment(self, params: EnvironmentParams) -> None:
        self._record("update_environment", params)

    def received_all_environments(self) -> None:
        self._record("received_all_environments", None)

    def delete_environment(self, id: EnvironmentID) -> None:
        self._record("delete_environment", id)

    def add_filter(self, params: FilterParams) -> None:
        self._record("add_filter", params)

    def delete_filter(self, id: FilterID) -> None:
        self._record("delete_filter", id)

    @property
    def names(self) -> list[str]:
        """The names of all calls so far."""
        return [name for name, _ in self.calls]

    def wait_for(self, name: str, timeout: float = LIMIT, matching: Callable[[Any], bool] | None = None) -> Any:
        """
        Take calls off the queue until one has the name (and an argument that matches), and return its argument.

        Raises:
            AssertionError: No such call came within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                called, argument = self.queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {name} within {timeout} s; calls so far: {self.calls}") from None
            if called == name and (matching is None or matching(argument)):
                return argument

    def wait_for_calls(self, count: int, timeout: float = LIMIT) -> None:
        """Wait until there have been so many calls in all; leaves the queue alone."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.calls) >= count, timeout)
        assert arrived, f"{len(self.calls)} calls within {timeout} s, not {count}: {self.calls}"

    def _record(self, name: str, argument: Any) -> None:
        call = (name, argument)
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        self.queue.put(call)


class Acting(Recorder):
    """
    Records calls, and does something inside each.

    Args:
        act: Is given the name and the argument of each call, after it was recorded; what it raises, the call raises.
    """

    def __init__(self, act: Callable[[str, Any], object]) -> None:
        super().__init__()
        self.act = act

    def _record(self, name: str, argument: Any) -> None:
        super()._record(name, argument)
        self.act(name, argument)


class Failing(Acting):
    """
    Records calls, and raises in some of them.

    Args:
        fails: Is given the name and the argument of each call; returns what to raise, or ``None``.

    Attributes:
        returned: The calls that did not raise.
    """

    def __init__(self, fails: Callable[[str, Any], BaseException | None]) -> None:
        super().__init__(self._fail)
        self.returned: list[tuple[str, Any]] = []
        self._fails = fails

    def _fail(self, name: str, argument: Any) -> None:
        error = self._fails(name, argument)
        if error is not None:
            raise error
        self.returned.append((name, argument))


class Holding(Acting):
    """
    Records calls; those of one method, or all, return when the test lets them.

    Args:
        name: The method's name; "" for all calls.

    Attributes:
        inside: Set when such a call has begun.
        released: The test sets it to let them return.
    """

    def __init__(self, name: str = "") -> None:
        super().__init__(self._hold)
        self.inside, self.released = threading.Event(), threading.Event()
        self._name = name

    def _hold(self, name: str, argument: Any) -> None:
        if self._name in ("", name):
            self.inside.set()
            assert self.released.wait(LIMIT), "nobody let the call return"
