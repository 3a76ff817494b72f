"""A handler that raises when it is told to, and sees to it that the calls that returned keep the promises."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from autoconfig import EnvironmentParams, FilterParams

Call = tuple[str, Any]
ERRORS: list[BaseException] = [ValueError("no room"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()]


class Unlucky:
    """
    Implements ``MessageHandler``: keeps a picture of what it was told in the calls that it did not raise in.

    Args:
        fails: Asked before each call whether it is to raise.

    Attributes:
        environments: The environments that it has.
        filters: The payload filters that it has.
        attempted: All calls.
        returned: Those that did not raise.
        broken: The calls that broke a promise; not raised, because the dispatcher would take that for a failure.
        changed: Guards all of these; notified after each call.
    """

    def __init__(self, fails: Callable[[], bool]) -> None:
        self.environments: dict[str, EnvironmentParams] = {}
        self.filters: dict[str, FilterParams] = {}
        self.attempted: list[Call] = []
        self.returned: list[Call] = []
        self.broken: list[Call] = []
        self.changed = threading.Condition()
        self._fails = fails

    def add_environment(self, params: EnvironmentParams) -> None:
        with self._call("add_environment", params):
            self._expect(params.env_id not in self.environments)
            self.environments[params.env_id] = params

    def update_environment(self, params: EnvironmentParams) -> None:
        with self._call("update_environment", params):
            self._expect(params.env_id in self.environments)
            self.environments[params.env_id] = params

    def received_all_environments(self) -> None:
        with self._call("received_all_environments", None):
            pass

    def delete_environment(self, id: str) -> None:
        with self._call("delete_environment", id):
            self._expect(self.environments.pop(id, None) is not None)

    def add_filter(self, params: FilterParams) -> None:
        with self._call("add_filter", params):
            self._expect(params.id not in self.filters)
            self.filters[params.id] = params

    def delete_filter(self, id: str) -> None:
        with self._call("delete_filter", id):
            self._expect(self.filters.pop(id, None) is not None)

    def _call(self, name: str, argument: Any) -> threading.Condition:
        """Note the call, and raise if it is to fail; else return the lock to hold while it changes the picture."""
        with self.changed:
            self.attempted.append((name, argument))
            if self._fails():
                raise ERRORS[len(self.attempted) % len(ERRORS)]
            self.returned.append((name, argument))
            self.changed.notify_all()
        return self.changed

    def _expect(self, kept: bool) -> None:
        if not kept:
            self.broken.append(self.returned[-1])
