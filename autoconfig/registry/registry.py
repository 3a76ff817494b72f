"""The handler that keeps a picture: all environments and filters as they are now, to be asked from any thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

import attrs

from ..environments import EnvironmentParams, FilterParams
from ..handler import MessageHandler, check_handler
from ..identifiers import EnvironmentID, FilterID
from ..receiver import Action
from ..validation import check_callable, check_seconds
from .chain import Chain
from .lookup import Ends, Index, Table, ends

_Item = EnvironmentParams | FilterParams
_log = logging.getLogger("autoconfig")


@attrs.frozen(weakref_slot=False)
class RegistryChange:
    """
    A change of one environment or filter.

    Attributes:
        action: ``INSERT``, ``UPDATE`` or ``DELETE``.
        before: What was known; ``None`` for an ``INSERT``.
        after: What is known now; ``None`` for a ``DELETE``.
    """

    action: Action
    before: _Item | None
    after: _Item | None


RegistryListener = Callable[[RegistryChange], object]
"""What is called after each change."""


class EnvironmentRegistry:
    """
    Keeps all environments and payload filters as they are now, and finds an environment by any of its keys.

    It is a :class:`MessageHandler`: give it to a :class:`StreamManager`, or give that :meth:`wrap` of your own handler.
    Its six methods are called by one thread, the manager's. Everything else may be called from any thread and waits for
    no lock: each look-up is one step in a dict, and sees an environment as it was before a change or after it. A key
    that is accepted before and after a change is found at every moment in between. While the stream is interrupted the
    picture stays as it is.

    An environment may share a key or a name with another one for a while, such as the one that it replaces; then the
    look-up finds the one that was added or changed last. The empty string is no key.
    """

    def __init__(self) -> None:
        self._environments: Table[EnvironmentID, EnvironmentParams] = Table()
        self._filters: Table[FilterID, FilterParams] = Table()
        self._names = Index()
        self._sdk_keys = Index()
        self._mobile_keys = Index()
        self._ready = threading.Event()  # set by the first received_all_environments()
        self._listeners: tuple[RegistryListener, ...] = ()
        self._adding = threading.RLock()  # guards replacing _listeners; reading it needs no lock

    def __repr__(self) -> str:
        counts = f"{len(self._environments.items)} environments, {len(self._filters.items)} filters"
        return f"<{type(self).__name__}: {counts}, {'ready' if self.is_ready else 'not ready'}>"

    @property
    def environments(self) -> Mapping[EnvironmentID, EnvironmentParams]:
        """A snapshot of all environments, by id, that never changes; made when asked for, once after a change."""
        return self._environments.snapshot()

    @property
    def filters(self) -> Mapping[FilterID, FilterParams]:
        """A snapshot of all payload filters, by id, like :attr:`environments`."""
        return self._filters.snapshot()

    @property
    def is_ready(self) -> bool:
        """Whether a full configuration has been received; once that is so, it stays so."""
        return self._ready.is_set()

    def wait_until_ready(self, timeout: float | None = None) -> bool:
        """
        Wait for the first full configuration.

        Give a timeout: nothing else ends the wait when that does not come, because the key was refused or the manager
        was closed. Not to be called inside a callback, which would hold up what it waits for.

        Args:
            timeout: How many seconds to wait; ``None`` means for ever.

        Returns:
            Whether it has been received.
        """
        return self._ready.wait(None if timeout is None else check_seconds("timeout", timeout, zero=True))

    def get(self, env_id: EnvironmentID | str) -> EnvironmentParams | None:
        """Return the environment with this id."""
        return self._environments.items.get(EnvironmentID(env_id))

    def find(self, proj_key: str, env_key: str) -> EnvironmentParams | None:
        """Return the environment with this key in the project with that key."""
        return self._names.find((proj_key, env_key))

    def find_by_sdk_key(self, key: str, at: datetime | None = None) -> EnvironmentParams | None:
        """
        Return the environment that accepts this SDK key, be it the current one or one that has not expired yet.

        Args:
            key: The key.
            at: When it has to be accepted, given what is known now; default is now.

        Raises:
            ValueError: The time is naive.
        """
        return self._sdk_keys.find(key, at)

    def find_by_mobile_key(self, key: str, at: datetime | None = None) -> EnvironmentParams | None:
        """Return the environment that accepts this mobile key; see :meth:`find_by_sdk_key`."""
        return self._mobile_keys.find(key, at)

    def find_by_env_id(self, env_id: EnvironmentID | str) -> EnvironmentParams | None:
        """Return the environment with this client-side id, which is its id: the same as :meth:`get`."""
        return self.get(env_id)

    def add_listener(self, listener: RegistryListener) -> None:
        """
        Call a function with a :class:`RegistryChange` after each change from now on.

        It is called in the manager's thread, when look-ups see the change already, and should return soon, because
        further changes wait. What it raises is logged. A message that changes nothing is no change.
        """
        check_callable("listener", listener)
        with self._adding:
            self._listeners += (listener,)

    def remove_listener(self, listener: RegistryListener) -> None:
        """Call a listener no more; nothing happens if it was not added."""
        with self._adding:
            kept = list(self._listeners)
            with suppress(ValueError):
                kept.remove(listener)
            self._listeners = tuple(kept)

    def wrap(self, handler: MessageHandler, *more: MessageHandler) -> MessageHandler:
        """
        Return a handler that feeds the registry and then hands on to other ones, in their order.

        These may ask the registry, which has what they are told already (a filter that is deleted is still there). What
        one raises goes on to the manager, which calls again later, also those that had the call before. An addition
        that one refuses is taken back from those before it, because it may never be tried again.

        Raises:
            TypeError: A handler lacks a method; the text names it.
        """
        for one in (handler, *more):
            check_handler(one)
        return Chain(self, handler, *more)

    def add_environment(self, params: EnvironmentParams) -> None:
        """Take up an environment; one that is known is replaced."""
        self._set_environment(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Replace an environment; one that is not known is taken up."""
        self._set_environment(params)

    def received_all_environments(self) -> None:
        """Mark the registry as ready."""
        self._ready.set()

    def delete_environment(self, id: EnvironmentID) -> None:
        """Drop an environment; nothing happens if it is not known."""
        before = self._environments.items.get(id)
        if before is None:
            return
        for index, keys in self._claims(before):
            index.release(id, keys)
        self._environments.pop(id)
        self._tell(before, None)

    def add_filter(self, params: FilterParams) -> None:
        """Take up a filter; one that is known is replaced."""
        before = self._filters.items.get(params.id)
        if params != before:
            self._filters.set(params.id, params)
            self._tell(before, params)

    def delete_filter(self, id: FilterID) -> None:
        """Drop a filter; nothing happens if it is not known."""
        before = self._filters.items.get(id)
        if before is not None:
            self._filters.pop(id)
            self._tell(before, None)

    def _set_environment(self, params: EnvironmentParams) -> None:
        before = self._environments.items.get(params.env_id)
        if params == before:
            return
        # The order leaves no gap: what the environment goes by now, the environment, what it no longer goes by.
        claims = list(zip(self._claims(params), self._claims(before), strict=True))
        for (index, new), (_, old) in claims:
            index.claim(params, new, old)
        self._environments.set(params.env_id, params)
        for (index, new), (_, old) in claims:
            index.release(params.env_id, old.keys() - new.keys())
        self._tell(before, params)

    def _claims(self, params: EnvironmentParams | None) -> list[tuple[Index, Ends]]:
        """Return what an environment goes by in each index, and until when."""
        if params is None:
            return [(self._names, {}), (self._sdk_keys, {}), (self._mobile_keys, {})]
        name = (params.identifiers.proj_key, params.identifiers.env_key)
        return [
            (self._names, {name: None} if params.identifiers.env_key else {}),
            (self._sdk_keys, ends(params.accepted_sdk_keys)),
            (self._mobile_keys, ends(params.accepted_mobile_keys)),
        ]

    def _tell(self, before: _Item | None, after: _Item | None) -> None:
        if not (listeners := self._listeners):
            return
        action = Action.INSERT if before is None else Action.DELETE if after is None else Action.UPDATE
        change = RegistryChange(action, before, after)
        for listener in listeners:
            try:
                listener(change)
            except BaseException:  # SystemExit too: the thread is the manager's
                _log.exception("A registry listener failed")
