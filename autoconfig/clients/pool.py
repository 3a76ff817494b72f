"""The handler that keeps a client for each environment."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType, TracebackType
from typing import Any

from ldclient import LDClient
from ldclient.config import Config

from ..config import RetryPolicy
from ..environments import EnvironmentParams
from ..exceptions import ForkedError
from ..handler import MessageHandler
from ..identifiers import EnvironmentID, FilterKey, mask, mask_keys
from ..safe_logger import SafeLogger
from ..validation import check_callable, check_instance, check_seconds
from .client import Client
from .retirement import Retirement
from .slot import Key, Slot
from .state import ClientStatus
from .workers import Workers

_FIRST_DELAY = 1.0  # seconds before a refused key is tried again
_MOST_DOUBLINGS = 64  # beyond any longest delay, and far from where a float overflows
_UNFILTERED = FilterKey("")


class ClientPool(MessageHandler):
    """
    Keeps a client of LaunchDarkly's SDK for each environment, with the environment's current SDK key.

    It is a :class:`MessageHandler` to give to a :class:`StreamManager`, and a :class:`FilteredHandler` to give to a
    :class:`FilterExpander`. Its handler methods take notes only: they never block and never raise. Clients are made and
    closed in daemon threads, which start with the first environment. Nothing is started before, so a pool may be made
    before a fork.

    After a rotation the old client serves until the new one works. It is closed when nobody borrows it any more and
    ``linger`` has passed, so that the events of requests that are under way are sent. A key that LaunchDarkly refuses
    is tried again after a second, then less and less often.

    Args:
        make_config: Returns the SDK's ``Config`` of an environment: a new one for each call, with
            ``params.sdk_key``, and for a filtered environment with
            ``payload_filter_key=params.identifiers.filter_key``. Called in one of ``parallel`` threads; it may block.
            What it raises is logged, and it is called again later.
        lazy: Make a client when it is first asked for.
        parallel: How many clients may be starting at a time.
        start_wait: Seconds after which a client that has no flags yet makes room for the next one to start. It goes on
            connecting.
        linger: Seconds that a replaced client stays open, for those who got it without borrowing it.
        max_retired: How many replaced clients of one environment may linger; one more, and the oldest is closed.
        closers: How many clients are closed at a time.
        retry: The longest delay and the jitter between the attempts with a refused key.

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
        check_callable("make_config", make_config)
        self._make_config = make_config
        self._lazy = lazy
        self._start_wait = check_seconds("start_wait", start_wait, zero=True)
        self._retry = check_instance("retry", RetryPolicy(max_delay=60.0) if retry is None else retry, RetryPolicy)
        self._log = SafeLogger(logging.getLogger("autoconfig"))
        self._changed = threading.Condition()  # guards all that follows; notified of every change
        self._slots: dict[Key, Slot] = {}
        self._serving: dict[Key, Client] = {}  # read without the lock
        self._starters = Workers("autoconfig-clients-starter", _check_count("parallel", parallel, 1))
        self._retirement = Retirement(
            self._changed,
            check_seconds("linger", linger, zero=True),
            _check_count("max_retired", max_retired, 0),
            _check_count("closers", closers, 1),
        )
        self._configs: weakref.WeakSet[Config] = weakref.WeakSet()  # those that were used
        self._stores: weakref.WeakKeyDictionary[Any, Key] = weakref.WeakKeyDictionary()  # whose each feature store is
        self._plans = 0
        self._unconfirmed: set[Key] = set()  # what an earlier manager added, and the present one has not
        self._complete = False
        self._closed = False
        self._process: int | None = None  # in which the threads run

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._slots)} environments>"

    def get(
        self, env_id: EnvironmentID, filter_key: FilterKey = _UNFILTERED, *, timeout: float = 0.0
    ) -> LDClient | None:
        """
        Return the client of an environment; from any thread, and without a lock if there is one.

        Ask anew for each request. A client that has not received its flags yet evaluates every flag to its default; it
        is returned if there is no better one.

        Args:
            env_id: The environment's id.
            filter_key: The payload filter's key; ``""`` for the unfiltered environment.
            timeout: How many seconds to wait for a client that works.

        Returns:
            The client; ``None`` if there is none, because the environment is unknown, its key is refused, its client is
            still being made, or the pool is closed.

        Raises:
            ForkedError: The pool is that of the parent process.
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
        Yield what :meth:`get` returns; it is not closed before the end of the ``with`` block.

        That is, the events of the block are sent, however long it lasts.

        Raises:
            ForkedError: The pool is that of the parent process.
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
        Return how each environment is served, by its id and the filter's key; from any thread.

        Raises:
            ForkedError: The pool is that of the parent process.
        """
        self._check_process()
        with self._changed:
            found = {key: slot.status(self._retirement.count(key)) for key, slot in self._slots.items()}
        return MappingProxyType(found)

    def wait_until_ready(self, timeout: float) -> bool:
        """
        Wait until the first full configuration has come and the client of every environment works.

        One that works with an earlier key counts; so does one that nobody has asked for of a lazy pool.

        Args:
            timeout: How many seconds to wait.

        Returns:
            Whether that is so; if not, :meth:`status` says why.

        Raises:
            ForkedError: The pool is that of the parent process.
        """
        check_seconds("timeout", timeout, zero=True)
        self._check_process()
        with self._changed:
            return self._changed.wait_for(self._ready, timeout)

    def close(self, timeout: float = 10.0) -> bool:
        """
        Close all clients, several at a time, which also sends their last events; after ``StreamManager.close()``.

        May be called again. Afterwards there is no client to get. One that is borrowed is closed when it is given back.
        In a forked child it does nothing and returns ``True``.

        Args:
            timeout: How many seconds to wait for what is being made, sent and borrowed.

        Returns:
            Whether all is closed. If not, a WARNING says so; the threads are daemons and go on with it.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._process not in (None, os.getpid()):
            return True
        with self._changed:
            self._closed = True
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add_environment(self, params: EnvironmentParams) -> None:
        """Plan a client for the environment."""
        self.update_environment(params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Plan a new client if the SDK key has changed."""
        self._check_process()
        key = (params.env_id, params.identifiers.filter_key)
        with self._changed:
            if self._closed:
                return
            self._start_threads()
            self._unconfirmed.discard(key)
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = Slot(key, params, not self._lazy)
            elif slot.params.sdk_key != params.sdk_key:
                slot.failures, slot.error, slot.planned = 0, None, None
            slot.params = params
            self._advance(slot)

    def delete_environment(self, id: EnvironmentID, filter_key: FilterKey = _UNFILTERED) -> None:
        """Close the client later; :meth:`get` no longer returns it."""
        self._check_process()
        with self._changed:
            if slot := self._slots.get((id, filter_key)):
                self._forget(slot)
                self._changed.notify_all()

    def received_all_environments(self) -> None:
        """Forget what an earlier manager has added and this one has not."""
        self._check_process()
        with self._changed:
            for key in list(self._unconfirmed):
                self._forget(self._slots[key])
            self._complete = True
            self._changed.notify_all()

    def _attach_to_stream(self, stream: object) -> None:
        """Note that another manager begins: what it does not add is gone."""
        self._check_process()
        with self._changed:
            self._unconfirmed = set(self._slots)
            self._complete = False

    def _keep_environment(self, id: EnvironmentID) -> None:
        """Note that the present manager has this environment too, as it is, so that no call says so."""
        with self._changed:
            self._unconfirmed = {key for key in self._unconfirmed if key[0] != id}

    def _check_process(self) -> None:
        if self._process not in (None, os.getpid()):
            raise ForkedError

    def _ready(self) -> bool:
        return self._closed or (self._complete and all(slot.served or not slot.asked for slot in self._slots.values()))

    def _start_threads(self) -> None:
        self._process = os.getpid()
        try:
            self._starters.start()
            self._retirement.start()
        except RuntimeError:  # the next change tries again
            self._log.error("The client pool could not start all of its threads")

    def _wait(self, key: Key, timeout: float) -> Client | None:
        """Wait for a client that works; return the one that serves then. A lazy pool begins to make it."""
        self._check_process()
        check_seconds("timeout", timeout, zero=True)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._ask(key), timeout)
            return self._serving.get(key)

    def _ask(self, key: Key) -> bool:
        """Note that the client is asked for, and return whether it works."""
        slot = self._slots.get(key)
        if slot is None:
            return False
        if not slot.asked:
            slot.asked = True
            self._advance(slot)
        return slot.served

    def _forget(self, slot: Slot) -> None:
        slot.gone = True
        slot.planned = None
        self._serving.pop(slot.key, None)
        self._unconfirmed.discard(slot.key)
        del self._slots[slot.key]
        for client in (slot.candidate, slot.serving):
            if client is not None:
                self._retirement.add(slot.key, client)
        slot.candidate = slot.serving = None

    def _advance(self, slot: Slot) -> None:
        """Take the next step towards a client with the newest key."""
        if slot.gone or not slot.asked:
            return
        self._drop_refused(slot)
        candidate = slot.candidate
        if candidate is not None and candidate.sdk_key != slot.params.sdk_key:
            self._retirement.add(slot.key, candidate)
            slot.candidate = None
        elif candidate is not None and (candidate.working or slot.serving is None):
            self._promote(slot, candidate)
        if slot.current:
            slot.planned = None
        elif slot.candidate is None and not slot.building and slot.planned is None:
            self._plan(slot)

    def _drop_refused(self, slot: Slot) -> None:
        """Close clients that will not work; one that did work keeps its flags and serves on."""
        if slot.candidate is not None and slot.candidate.refused:
            self._retirement.add(slot.key, slot.candidate)
            slot.candidate = None
        if slot.serving is not None and slot.serving.refused and not slot.serving.worked:
            self._retirement.add(slot.key, slot.serving)
            slot.serving = None
            del self._serving[slot.key]

    def _promote(self, slot: Slot, client: Client) -> None:
        if slot.serving is not None:
            self._retirement.add(slot.key, slot.serving)
        slot.serving, slot.candidate = client, None
        self._serving[slot.key] = client

    def _plan(self, slot: Slot) -> None:
        """Plan a client: at once, or after a delay that grows with the failures of the newest key."""
        self._plans += 1
        slot.planned = self._plans
        delay = 0.0
        if slot.failures:
            delay = min(_FIRST_DELAY * 2.0 ** min(slot.failures - 1, _MOST_DOUBLINGS), self._retry.max_delay)
            delay *= 1 - self._retry.jitter * random.random()
        self._starters.submit(partial(self._start, slot, self._plans), delay)

    def _start(self, slot: Slot, plan: int) -> None:
        """Make a client, and wait until it works or it is clear that it will take longer; in a starter's thread."""
        with self._changed:
            if slot.planned != plan:
                return
            slot.planned, slot.building = None, True
            params = slot.params
        client = self._make(slot, params)
        with self._changed:
            slot.building = False
            closed = self._closed
            if client is None:
                self._advance(slot)
                return
            if not closed and slot.gone:
                self._retirement.add(slot.key, client)
                return
            slot.candidate = client
        if closed:
            client.close(again=lambda: False)
            return
        client.watch(partial(self._look, slot, client))
        self._look(slot, client)
        if not client.settled.wait(self._start_wait):
            self._look(slot, client)

    def _make(self, slot: Slot, params: EnvironmentParams) -> Client | None:
        """Return a new client; ``None`` if it cannot be made, which is logged."""
        try:
            return Client(self._check_config(slot.key, params, self._make_config(params)), self._start_wait)
        except BaseException as error:  # SystemExit too: the thread is needed
            text = "".join(traceback.format_exception(error))
            if params.sdk_key:
                text = text.replace(params.sdk_key, mask(params.sdk_key))
            self._log.error("The client of environment %s could not be made: %s", params.env_id, mask_keys(text))
            with self._changed:
                if slot.params.sdk_key == params.sdk_key:
                    slot.failures += 1
                    slot.error = type(error).__name__
            return None

    def _check_config(self, key: Key, params: EnvironmentParams, config: Config) -> Config:
        check_instance("what make_config returns", config, Config)
        if config.sdk_key != params.sdk_key:  # the SDK turns a key with strange characters into an empty one
            raise ValueError("make_config must return a Config with params.sdk_key")
        with self._changed:
            if config in self._configs or config.data_source_update_sink is not None:
                raise ValueError("make_config must return a new Config for each call; this one was used")
            self._configs.add(config)
            if self._stores.setdefault(config.feature_store, key) != key:
                raise ValueError("make_config must not share a feature store between environments")
        return config

    def _look(self, slot: Slot, client: Client) -> None:
        """Read the state of a client and act on it; the SDK's threads call it, too."""
        with self._changed:
            if client is not slot.serving and client is not slot.candidate:
                return
            refused = client.refused
            client.look()
            if client.sdk_key == slot.params.sdk_key:
                slot.error = client.error
                if client.working:
                    slot.failures = 0
                elif client.refused and not refused:
                    slot.failures += 1
            self._advance(slot)
            self._changed.notify_all()


def _check_count(name: str, value: int, least: int) -> int:
    if check_instance(name, value, int) < least:
        raise ValueError(f"{name} must be {least} or more, not {value}")
    return value
