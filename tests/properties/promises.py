"""A handler that half-does its work before it raises, and sees to it that the rule for calls that raised is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from support.dispatching import ALLOWED, HALF_DONE, Outcome

from autoconfig import EnvironmentParams, FilterParams

Call = tuple[str, Any]
FAILURES: list[Outcome] = ["fail at once", "fail half-way", "fail at the end"]
# Classes: an instance that is raised again and again has a longer traceback each time.
ERRORS: list[type[BaseException]] = [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit]


class Unlucky:
    """
    Implements ``MessageHandler``: keeps what its calls leave, of those that raise in the middle too.

    Args:
        outcome: Asked at each call what is to become of it.

    Attributes:
        environments: What it has of each environment.
        filters: What it has of each payload filter.
        attempted: All calls.
        returned: Those that did not raise.
        broken: The calls that the rule does not allow, which cannot raise: the dispatcher would take it for a failure.
        changed: Guards all of these; notified after each call.
    """

    def __init__(self, outcome: Callable[[], Outcome]) -> None:
        self.environments: dict[Any, EnvironmentParams | str] = {}
        self.filters: dict[str, FilterParams | str] = {}
        self.attempted: list[Call] = []
        self.returned: list[Call] = []
        self.broken: list[tuple[Call, tuple[str, bool]]] = []
        self.changed = threading.Condition()
        self._outcome = outcome
        self._last: dict[tuple[str, Any], tuple[str, bool]] = {}

    def add_environment(self, params: EnvironmentParams) -> None:
        self._call("add_environment", self.environments, params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        self._call("update_environment", self.environments, params.env_id, params)

    def received_all_environments(self) -> None:
        with self.changed:
            self.attempted.append(("received_all_environments", None))
            if self._outcome() != "succeed":
                raise ERRORS[len(self.attempted) % len(ERRORS)]
            self.returned.append(("received_all_environments", None))
            self.changed.notify_all()

    def delete_environment(self, id: str) -> None:
        self._call("delete_environment", self.environments, id, id)

    def add_filter(self, params: FilterParams) -> None:
        self._call("add_filter", self.filters, params.id, params)

    def delete_filter(self, id: str) -> None:
        self._call("delete_filter", self.filters, id, id)

    def last(self, kind: str, id: Any) -> tuple[str, bool]:
        """Return the last call for an item, and whether it succeeded."""
        return self._last.get((kind, id), ("delete", True))

    def _call(self, name: str, held: dict[Any, Any], id: Any, argument: Any) -> None:
        """Do what a call says, or some of it, and raise then."""
        with self.changed:
            what, _, kind = name.partition("_")
            last = self.last(kind, id)
            if what not in ALLOWED[last]:
                self.broken.append(((name, argument), last))
            self.attempted.append((name, argument))
            outcome = self._outcome()
            self._last[kind, id] = what, outcome == "succeed"
            if outcome == "fail half-way":
                held[id] = HALF_DONE
            elif outcome != "fail at once":
                held.pop(id, None)
                if what != "delete":
                    held[id] = argument
            self.changed.notify_all()
            if outcome != "succeed":
                raise ERRORS[len(self.attempted) % len(ERRORS)]
            self.returned.append((name, argument))
