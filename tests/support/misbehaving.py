"""Handlers that do what a handler should not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from support.recorder import Recorder


class Failing(Recorder):
    """
    Records its calls and then raises in some of them.

    Args:
        fails: Told the name and the argument of each call; returns what to raise, or ``None``.

    Attributes:
        returned: The calls that did not raise.
    """

    def __init__(self, fails: Callable[[str, Any], BaseException | None]) -> None:
        super().__init__()
        self.returned: list[tuple[str, Any]] = []
        self._fails = fails

    def _record(self, name: str, argument: Any) -> None:
        super()._record(name, argument)
        error = self._fails(name, argument)
        if error is not None:
            raise error
        self.returned.append((name, argument))


def once(callback: str, error: BaseException) -> Callable[[str, Any], BaseException | None]:
    """Return what makes the first call of one method raise."""
    left = [error]
    return lambda name, _: left.pop() if name == callback and left else None


class Following(Failing):
    """
    Keeps a picture of what it was told, and sees to it that the calls that returned keep the promises.

    Attributes:
        environments: The name of each environment that it knows of.
        filters: The key of each filter that it knows of.
        broken: The calls that broke a promise; not raised, because the dispatcher would take that for a failure.
    """

    def __init__(self, fails: Callable[[str, Any], BaseException | None]) -> None:
        super().__init__(fails)
        self.environments: dict[str, str] = {}
        self.filters: dict[str, str] = {}
        self.broken: list[tuple[str, Any]] = []

    def _record(self, name: str, argument: Any) -> None:
        super()._record(name, argument)  # raises if this call fails
        match name:
            case "add_environment":
                self._add(self.environments, argument.env_id, argument.identifiers.env_name, (name, argument))
            case "update_environment":
                self._update(argument.env_id, argument.identifiers.env_name, (name, argument))
            case "add_filter":
                self._add(self.filters, argument.id, argument.key, (name, argument))
            case "delete_environment":
                self._delete(self.environments, (name, argument))
            case "delete_filter":
                self._delete(self.filters, (name, argument))

    def _add(self, known: dict[str, str], id: str, text: str, call: tuple[str, Any]) -> None:
        if id in known:
            self.broken.append(call)
        known[id] = text

    def _update(self, id: str, text: str, call: tuple[str, Any]) -> None:
        if id not in self.environments:
            self.broken.append(call)
        self.environments[id] = text

    def _delete(self, known: dict[str, str], call: tuple[str, Any]) -> None:
        if known.pop(call[1], None) is None:
            self.broken.append(call)
