"""Makes clients, and checks the config that the application has made for each."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from ldclient.config import Config

from ..environments import EnvironmentParams
from ..validation import check_callable, check_instance
from .client import Client
from .slot import Key


class ClientMaker:
    """
    Makes clients; may be called from several threads.

    Args:
        make_config: The application's function; see :class:`ClientPool`.
        start_wait: The most seconds that :meth:`make` waits for the flags of a client.

    Raises:
        TypeError: The function cannot be called.
    """

    def __init__(self, make_config: Callable[[EnvironmentParams], Config], start_wait: float) -> None:
        check_callable("make_config", make_config)
        self._make_config = make_config
        self._start_wait = start_wait
        self._lock = threading.Lock()  # guards the next two
        self._configs: weakref.WeakSet[Config] = weakref.WeakSet()  # those that were used
        self._stores: weakref.WeakKeyDictionary[Any, Key] = weakref.WeakKeyDictionary()  # which slot has each store

    def make(self, key: Key, params: EnvironmentParams) -> Client:
        """
        Return a new client of an environment.

        Raises:
            TypeError: The function did not return a config.
            ValueError: The config has another SDK key, or one of its parts is used by another client.
            BaseException: The function raised it.
        """
        config = check_instance("what make_config returns", self._make_config(params), Config)
        if config.sdk_key != params.sdk_key:  # the SDK turns a key with strange characters into an empty one
            raise ValueError("make_config must return a Config with params.sdk_key")
        with self._lock:
            if config in self._configs or config.data_source_update_sink is not None:
                raise ValueError("make_config must return a new Config for each call; this one was used")
            self._configs.add(config)
            if self._stores.setdefault(config.feature_store, key) != key:
                raise ValueError("make_config must not share a feature store between environments")
        return Client(config, self._start_wait)
