"""The six callbacks as values, so that it is the command's own thread that prints, and that is stopped by signals."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import attrs

from ..environments import EnvironmentParams, FilterParams
from ..handler import MessageHandler
from ..identifiers import EnvironmentID, FilterID


@attrs.frozen
class Call:
    """
    One call of the handler.

    Attributes:
        name: The method's name.
        argument: What it was called with; ``None`` for ``received_all_environments``.
    """

    name: str
    argument: EnvironmentParams | FilterParams | str | None = None

    @property
    def id(self) -> str:
        """The id of the environment or filter; ``""`` if the call is about none."""
        match self.argument:
            case EnvironmentParams(env_id=id) | FilterParams(id=id):
                return id
            case _:
                return self.argument or ""


class CallQueue(MessageHandler):
    """A handler whose calls wait until another thread takes them. It never blocks, and so never delays a close."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()

    def add_environment(self, params: EnvironmentParams) -> None:
        """Queue the call."""
        self._calls.put(Call("add_environment", params))

    def update_environment(self, params: EnvironmentParams) -> None:
        """Queue the call."""
        self._calls.put(Call("update_environment", params))

    def received_all_environments(self) -> None:
        """Queue the call."""
        self._calls.put(Call("received_all_environments"))

    def delete_environment(self, id: EnvironmentID) -> None:
        """Queue the call."""
        self._calls.put(Call("delete_environment", id))

    def add_filter(self, params: FilterParams) -> None:
        """Queue the call."""
        self._calls.put(Call("add_filter", params))

    def delete_filter(self, id: FilterID) -> None:
        """Queue the call."""
        self._calls.put(Call("delete_filter", id))

    def take(self, timeout: float) -> Iterator[Call]:
        """Yield what is there; wait for the first one at most so many seconds."""
        try:
            yield self._calls.get(timeout=timeout)
            while True:
                yield self._calls.get_nowait()
        except queue.Empty:
            return


class Picture:
    """
    What the calls so far add up to.

    Attributes:
        environments: The environments, by id.
        filters: The payload filters, by id.
    """

    def __init__(self) -> None:
        self.environments: dict[str, EnvironmentParams] = {}
        self.filters: dict[str, FilterParams] = {}

    def apply(self, call: Call) -> EnvironmentParams | FilterParams | None:
        """Take a call into account; return what was known of the environment or filter before."""
        match call.argument:
            case EnvironmentParams() as environment:
                before = self.environments.get(call.id)
                self.environments[call.id] = environment
                return before
            case FilterParams() as filter:
                self.filters[call.id] = filter
                return None
        known = self.filters if call.name == "delete_filter" else self.environments
        return known.pop(call.id, None)  # received_all_environments has no id, so it takes nothing away
