"""``ClientPool``: the handler that keeps a client of LaunchDarkly's SDK for each environment."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

from ldclient import LDClient
from ldclient.config import Config

from ..config import RetryPolicy
from ..environments import EnvironmentParams
from ..exceptions import ForkedError
from ..handler import MessageHandler
from ..identifiers import EnvironmentID, FilterKey
from ..safe_logger import SafeLogger
from ..validation import check_count, check_instance, check_seconds
from .client import Client
from .maker import ClientMaker
from .retirement import Retirement
from .rotation import Rotation
from .slot import Key, Slot
from .state import ClientStatus
from .workers import Workers

_UNFILTERED = FilterKey("")


class ClientPool(MessageHandler):
    """
    Keeps a client of LaunchDarkly's SDK for each environment, with the environment's current SDK key.

    It is a :class:`MessageHandler` to give to a :class:`StreamManager`, and a :class:`FilteredHandler` to give to a
    :class:`FilterExpander`. Its handler methods never block and never raise. Clients are made and closed in daemon
    threads, which start with the first environment. So a pool may be made before a fork.

    After a rotation the old client serves until the new one works. It is closed when nobody borrows it and ``linger``
    has passed, so that the events of running requests are sent. A key that LaunchDarkly refuses is retried after a
    second, then after growing delays.

    Args:
        make_config: Returns a new ``Config`` of the SDK for an environment, with ``params.sdk_key``, and for a filtered
            environment with ``payload_filter_key=params.identifiers.filter_key``. Called in one of ``parallel``
            threads; it may block. If it raises, the error is logged, and the call is retried.
        lazy: Whether to make a client only when it is first asked for.
        parallel: How many clients may start at the same time.
        start_wait: Seconds after which the next client may start although this one has no flags yet. This one
            continues to connect.
        linger: Seconds that a replaced client stays open, for those who got it without borrowing it.
        max_retired: How many replaced clients of one environment may stay open; beyond that the oldest is closed.
        closers: How many clients are closed at the same time.
        retry: The longest delay and the jitter between attempts with a refused key.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: A number is out of its range; the text names the argument.
    """

    def __init__(
        self,
        make_config: Callable[[EnvironmentParams], Config],
        *,
        lazy: bool = False,
        parallel: int = 8,
        start_wait: float = 10.0,
        linger: float = 30.0,
        max_retired: int = 2,
        closers: int = 4,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._lazy = lazy
        check_seconds("start_wait", start_wait, zero=True)
        retry = check_instance("retry", RetryPolicy(max_delay=60.0) if retry is None else retry, RetryPolicy)
        self._log = SafeLogger(logging.getLogger("autoconfig"))
        self._changed = threading.Condition()  # guards all that follows; notified of every change
        self._slots: dict[Key, Slot] = {}
        self._starters = Workers("autoconfig-clients-starter", check_count("parallel", parallel))
        self._retirement = Retirement(
            self._changed,
            check_seconds("linger", linger, zero=True),
            check_count("max_retired", max_retired, 0),
            check_count("closers", closers),
        )
        maker = ClientMaker(make_config, start_wait)
        self._rotation = Rotation(self._changed, maker, self._starters, self._retirement, start_wait, retry)
        self._serving = self._rotation.serving  # read without the lock
        self._unconfirmed: set[Key] = set()  # added by an earlier manager, and not by the present one
        self._complete = False  # whether a full configuration was received
        self._process: int | None = None  # the id of the process in which the threads run

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._slots)} environments>"

    def get(
        self, env_id: EnvironmentID, filter_key: FilterKey = _UNFILTERED, *, timeout: float = 0.0
    ) -> LDClient | None:
        """
        Return the client of an environment. May be called from any thread; takes no lock if there is a client.

        Call it again for each request. A client that has not received its flags yet evaluates every flag to its
        default. It is returned if no client works yet.

        Args:
            env_id: The environment's id.
            filter_key: The payload filter's key; ``""`` for the unfiltered environment.
            timeout: How many seconds to wait for a client that works.

        Returns:
            The client; ``None`` if there is none, because the environment is unknown, its key is refused, its client is
            still being made, or the pool is closed.

        Raises:
            ForkedError: The pool belongs to the parent process.
        """
        client = self._serving.get((env_id, filter_key))
        if client is None or (timeout and not client.worked) or self._process != os.getpid():
            client = self._wait((env_id, filter_key), timeout)
        return client.sdk if client is not None else None

    @contextmanager
    def borrow(
        self, env_id: EnvironmentID, filter_key: FilterKey = _UNFILTERED, *, timeout: float = 0.0
    ) -> Iterator[LDClient | None]:
        """
        Yield what :meth:`get` returns; the client is not closed before the end of the ``with`` block.

        So the events of the block are sent, however long it lasts.

        Raises:
            ForkedError: The pool belongs to the parent process.
        """
        key = (env_id, filter_key)
        if timeout or key not in self._serving or self._process != os.getpid():
            self._wait(key, timeout)
        with self._changed:
            client = self._serving.get(key)
            if client is not None:
                client.borrowers += 1
        try:
            yield client.sdk if client is not None else None
        finally:
            if client is not None and self._process == os.getpid():
                with self._changed:
                    self._retirement.give_back(key, client)

    def status(self) -> Mapping[Key, ClientStatus]:
        """
        Return how each environment is served, by its id and the filter's key. May be called from any thread.

        Raises:
            ForkedError: The pool belongs to the parent process.
        """
        self._check_process()
        with self._changed:
            found = {key: slot.status(self._retirement.count(key)) for key, slot in self._slots.items()}
        return MappingProxyType(found)

    def wait_until_ready(self, timeout: float) -> bool:
        """
        Wait until the first full configuration has come and the client of every environment works.

        A client that works with an earlier key is enough. In a lazy pool, environments that nobody has asked for are
        not waited for.

        Args:
            timeout: How many seconds to wait.

        Returns:
            Whether all clients work; if not, :meth:`status` says why. ``False`` at once when the pool is closed.

        Raises:
            ForkedError: The pool belongs to the parent process.
        """
        check_seconds("timeout", timeout, zero=True)
        self._check_process()
        with self._changed:
            self._changed.wait_for(lambda: self._rotation.closed or self._is_ready(), timeout)
            return not self._rotation.closed and self._is_ready()

    def close(self, timeout: float = 10.0) -> bool:
        """
        Close all clients, which also sends their last events. Call it after ``StreamManager.close()``.

        May be called again. Afterwards :meth:`get` returns ``None``. A client that is borrowed is closed when it is
        given back. In a forked child it does nothing and returns ``True``.

        Args:
            timeout: How many seconds to wait for clients that are starting, sending events or borrowed.

        Returns:
            Whether all clients are closed. If not, a WARNING says so, and the daemon threads continue to close them.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._process not in (None, os.getpid()):
            return True
        with self._changed:
            self._rotation.closed = True
            for slot in list(self._slots.values()):
                self._forget(slot)
            self._changed.notify_all()
        self._starters.end()
        closed = self._retirement.close(deadline)
        closed = self._starters.join(deadline) and closed
        if not closed:
            self._log.warning("Gave up waiting for the clients to close")
        return closed

    def __enter__(self) -> ClientPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def add_environment(self, params: EnvironmentParams) -> None:
        """Plan a client for the environment."""
        self.update_environment(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Plan a new client if the SDK key has changed."""
        self._check_process()
        key = (params.env_id, params.identifiers.filter_key)
        with self._changed:
            if self._rotation.closed:
                return
            self._start_threads()
            self._unconfirmed.discard(key)
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = Slot(key, params, not self._lazy)
            elif slot.params.sdk_key != params.sdk_key:
                slot.failures, slot.error, slot.planned = 0, None, None
            slot.params = params
            self._rotation.advance(slot)

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey = _UNFILTERED) -> None:
        """Close the client later; :meth:`get` no longer returns it."""
        self._check_process()
        with self._changed:
            if slot := self._slots.get((id, filter_key)):
                self._forget(slot)
                self._changed.notify_all()

    def received_all_environments(self) -> None:
        """Delete the environments that only an earlier manager has added."""
        self._check_process()
        with self._changed:
            for key in list(self._unconfirmed):
                self._forget(self._slots[key])
            self._complete = True
            self._changed.notify_all()

    def _attach_to_stream(self, stream: object) -> None:
        """Belong to another manager. After its first configuration, environments that it did not add are deleted."""
        self._check_process()
        with self._changed:
            self._unconfirmed = set(self._slots)
            self._complete = False

    def _keep_environment(self, id: EnvironmentID) -> None:
        """Keep this environment, which the present manager has too, although no call is made for it."""
        with self._changed:
            self._unconfirmed = {key for key in self._unconfirmed if key[0] != id}

    def _check_process(self) -> None:
        if self._process not in (None, os.getpid()):
            raise ForkedError

    def _is_ready(self) -> bool:
        return self._complete and all(slot.served or not slot.asked for slot in self._slots.values())

    def _start_threads(self) -> None:
        self._process = os.getpid()
        try:
            self._starters.start()
            self._retirement.start()
        except RuntimeError:  # the next change tries again
            self._log.error("The client pool could not start all of its threads")

    def _wait(self, key: Key, timeout: float) -> Client | None:
        """Wait for a client that works; return the one in service then. A lazy pool begins to make it."""
        self._check_process()
        check_seconds("timeout", timeout, zero=True)
        with self._changed:
            self._changed.wait_for(lambda: self._rotation.closed or self._ask(key), timeout)
            return self._serving.get(key)

    def _ask(self, key: Key) -> bool:
        """Have the client made if the pool is lazy; return whether it works."""
        slot = self._slots.get(key)
        if slot is None:
            return False
        if not slot.asked:
            slot.asked = True
            self._rotation.advance(slot)
        return slot.served

    def _forget(self, slot: Slot) -> None:
        del self._slots[slot.key]
        self._unconfirmed.discard(slot.key)
        self._rotation.end(slot)
