"""A handler for tests: it records its calls, and lets a test wait for one."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, overload

from ..environments import EnvironmentParams, FilterParams
from ..handler import MessageHandler, check_handler
from ..identifiers import EnvironmentID, FilterID

_LISTED = 20  # calls in an error's text; the latest ones say the most
_DUTIES = tuple(name for name in vars(MessageHandler) if not name.startswith("_"))
_METHODS = (*_DUTIES, "environment_refused")


class RecordedCall(NamedTuple):
    """
    One call of a handler. It equals the tuple of the two.

    Attributes:
        name: The method's name.
        argument: What it was called with: ``None`` for ``received_all_environments``, and the id and the reason for
            ``environment_refused``.
    """

    name: str
    argument: EnvironmentParams | FilterParams | EnvironmentID | FilterID | tuple[EnvironmentID, str] | None = None

    def __str__(self) -> str:
        return f"{self.name}({'' if self.argument is None else repr(self.argument)})"


class RecordingHandler(MessageHandler):
    """
    A :class:`MessageHandler` that records its calls. All methods may be called from any thread.

    Args:
        handler: A handler that gets the calls, too, such as the one under test. A call is recorded when it has returned
            from there, so its work is done when :meth:`wait_for` returns. A call that raises is not recorded.

    Raises:
        TypeError: The handler lacks a method; the text names it.
    """

    def __init__(self, handler: MessageHandler | None = None) -> None:
        if handler is not None:
            check_handler(handler)
        self._handler = handler
        self._changed = threading.Condition()  # guards all below; notified of each call
        self._calls: list[RecordedCall] = []
        self._unclaimed: dict[str, list[RecordedCall]] = {name: [] for name in _METHODS}  # not yet waited for
        self._environments: dict[EnvironmentID, EnvironmentParams] = {}
        self._filters: dict[FilterID, FilterParams] = {}

    def __repr__(self) -> str:
        with self._changed:
            counts = f"{len(self._calls)} calls, {len(self._environments)} environments, {len(self._filters)} filters"
            return f"<{type(self).__name__}: {counts}>"

    @property
    def calls(self) -> list[RecordedCall]:
        """A copy of the list of all calls so far, or of those since :meth:`clear`."""
        with self._changed:
            return list(self._calls)

    @property
    def environments(self) -> dict[EnvironmentID, EnvironmentParams]:
        """A copy of the environments as the calls have left them, by id."""
        with self._changed:
            return dict(self._environments)

    @property
    def filters(self) -> dict[FilterID, FilterParams]:
        """A copy of the payload filters as the calls have left them, by id."""
        with self._changed:
            return dict(self._filters)

    def clear(self) -> None:
        """Forget the calls so far, but not the environments and filters that they brought."""
        with self._changed:
            self._calls.clear()
            for calls in self._unclaimed.values():
                calls.clear()

    @overload
    def wait_for(
        self,
        name: Literal["add_environment", "update_environment"],
        timeout: float = 5.0,
        matching: Callable[[EnvironmentParams], object] | None = None,
    ) -> EnvironmentParams: ...

    @overload
    def wait_for(
        self,
        name: Literal["add_filter"],
        timeout: float = 5.0,
        matching: Callable[[FilterParams], object] | None = None,
    ) -> FilterParams: ...

    @overload
    def wait_for(
        self,
        name: Literal["delete_environment", "delete_filter"],
        timeout: float = 5.0,
        matching: Callable[[str], object] | None = None,
    ) -> str: ...

    @overload
    def wait_for(
        self,
        name: Literal["environment_refused"],
        timeout: float = 5.0,
        matching: Callable[[tuple[EnvironmentID, str]], object] | None = None,
    ) -> tuple[EnvironmentID, str]: ...

    @overload
    def wait_for(
        self, name: Literal["received_all_environments"], timeout: float = 5.0, matching: None = None
    ) -> None: ...

    def wait_for(self, name: str, timeout: float = 5.0, matching: Callable[[Any], object] | None = None) -> Any:
        """
        Wait for a call, and return its argument.

        A call that came before counts too, but each is returned once: waiting for the same name again waits for the
        next such call. Calls of other names, and those that do not match, stay for later.

        Args:
            name: The method's name.
            timeout: How many seconds to wait.
            matching: Takes the argument, and returns whether it is the one. The handler is not called meanwhile.

        Raises:
            TimeoutError: No such call came in time. The text lists the calls, with their keys masked.
            ValueError: There is no method of that name.
        """
        if name not in _METHODS:
            raise ValueError(f"a handler has no method {name!r}; its methods are {', '.join(_METHODS)}")
        with self._changed:
            call = self._changed.wait_for(lambda: _take_first(self._unclaimed[name], matching), timeout)
            if call is None:
                raise TimeoutError(self._describe_absence(f"{'matching ' if matching else ''}{name}", timeout))
            return call.argument

    def environment_refused(self, id: EnvironmentID, reason: str) -> None:
        """Record that an environment was refused."""
        self._call("environment_refused", id, reason)

    def _call(self, name: str, *arguments: Any) -> None:
        """Hand a call on, and record it."""
        if method := getattr(self._handler, name, None):
            method(*arguments)
        argument: Any = arguments if len(arguments) > 1 else next(iter(arguments), None)
        with self._changed:
            match name:
                case "add_environment" | "update_environment":
                    self._environments[argument.env_id] = argument
                case "delete_environment":
                    self._environments.pop(argument, None)
                case "add_filter":
                    self._filters[argument.id] = argument
                case "delete_filter":
                    self._filters.pop(argument, None)
            call = RecordedCall(name, argument)
            self._calls.append(call)
            self._unclaimed[name].append(call)
            self._changed.notify_all()

    def _describe_absence(self, wanted: str, timeout: float) -> str:
        listed = [f"  {call}" for call in self._calls[-_LISTED:]]
        left_out = len(self._calls) - len(listed)
        if left_out:
            listed.insert(0, f"  … {left_out} before these")
        so_far = "\n".join(["calls so far (each is waited for once):", *listed]) if listed else "no call so far"
        return f"no {wanted} within {timeout} s; {so_far}"


def _take_first(calls: list[RecordedCall], matching: Callable[[Any], object] | None) -> RecordedCall | None:
    """Remove the first call whose argument matches, and return it."""
    for place, call in enumerate(calls):
        if matching is None or matching(call.argument):
            return calls.pop(place)
    return None


def _recorded(name: str) -> Callable[..., None]:
    @functools.wraps(getattr(MessageHandler, name))
    def method(self: RecordingHandler, *arguments: Any) -> None:
        self._call(name, *arguments)

    return method


for _name in _DUTIES:
    setattr(RecordingHandler, _name, _recorded(_name))
