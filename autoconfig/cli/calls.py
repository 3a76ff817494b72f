"""The six callbacks as values, so that it is the command's own thread that prints, and that is stopped by signals."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator

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


class CallHandler(MessageHandler):
    """
    A handler that hands each call on as a value.

    Args:
        take: What is given the calls.
    """

    def __init__(self, take: Callable[[Call], object]) -> None:
        self._take = take

    def add_environment(self, params: EnvironmentParams) -> None:
        """Hand the call on."""
        self._take(Call("add_environment", params))

    def update_environment(self, params: EnvironmentParams) -> None:
        """Hand the call on."""
        self._take(Call("update_environment", params))

    def received_all_environments(self) -> None:
        """Hand the call on."""
        self._take(Call("received_all_environments"))

    def delete_environment(self, id: EnvironmentID) -> None:
        """Hand the call on."""
        self._take(Call("delete_environment", id))

    def add_filter(self, params: FilterParams) -> None:
        """Hand the call on."""
        self._take(Call("add_filter", params))

    def delete_filter(self, id: FilterID) -> None:
        """Hand the call on."""
        self._take(Call("delete_filter", id))


class CallQueue(CallHandler):
    """A handler whose calls wait until another thread takes them. It never blocks, and so never delays a close."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        super().__init__(self._calls.put)

    def wake(self, *_: object) -> None:
        """Have :meth:`take` return, because there is other news; takes what a status listener is told."""
        self._calls.put(None)

    def take(self, timeout: float) -> Iterator[Call]:
        """Yield what is there; wait at most so many seconds for the first call, or for :meth:`wake`."""
        try:
            call = self._calls.get(timeout=timeout)
            while True:
                if call:
                    yield call
                call = self._calls.get_nowait()
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
