"""
Keep one client of LaunchDarkly's SDK for each environment, with the keys that the stream has at the moment.

    AUTO_CONFIG_KEY=rel-… python client_per_environment.py

``SDK_URI`` sends the clients elsewhere than to LaunchDarkly's own hosts, for instance to a Relay Proxy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys

from ldclient import LDClient
from ldclient.config import Config

from autoconfig import EnvironmentID, EnvironmentParams, HandlerErrors, MessageHandler, RetryPolicy, StreamManager

# Seconds that a new client has for its first flags. The stream's thread waits meanwhile, and with it all other changes,
# which is right for some dozens of environments. With hundreds, let a pool of threads build the clients.
START_WAIT = float(os.environ.get("SDK_START_WAIT", "4"))

log = logging.getLogger("clients")


class NotInitializedError(Exception):
    """A new client has no flags yet."""


class Clients(MessageHandler):
    """
    The clients, by environment.

    The stream's thread is the only one that changes them. A method that raises is called again, after a second at first
    and half a minute at last, until it succeeds or the environment changes once more. So each leaves things as they
    were when it raises, and none needs a retry of its own.
    """

    def __init__(self) -> None:
        self._clients: dict[EnvironmentID, LDClient] = {}

    def get(self, id: EnvironmentID) -> LDClient | None:
        """
        Return the client of an environment; from any thread.

        Ask for it anew in each request. One that was replaced still evaluates with the flags that it has, but sends no
        more events.
        """
        return self._clients.get(id)

    def add_environment(self, params: EnvironmentParams) -> None:
        self._clients[params.env_id] = build(params)
        log.info("built the client of %s", name(params))

    def update_environment(self, params: EnvironmentParams) -> None:
        old = self._clients[params.env_id]
        if params.sdk_key == old.get_sdk_key():
            return  # a new name or TTL, which no client has to know
        # The new one first. Until it is there, requests have the old one, whose key is good for a time yet.
        self._clients[params.env_id] = build(params)
        old.close()
        log.info("replaced the client of %s", name(params))

    def delete_environment(self, id: EnvironmentID) -> None:
        if client := self._clients.pop(id, None):  # None if close() raised the last time
            client.close()
        log.info("closed the client of %s", id)

    def close(self) -> None:
        """Close all clients, which also sends their last events. The manager has to be closed before."""
        while self._clients:
            self._clients.popitem()[1].close()


def build(params: EnvironmentParams) -> LDClient:
    """Return a client that has its flags, or raise. A key may be younger than what the service's hosts know of it."""
    uri = os.environ.get("SDK_URI")
    config = Config(params.sdk_key, base_uri=uri, stream_uri=uri, events_uri=uri) if uri else Config(params.sdk_key)
    client = LDClient(config, start_wait=START_WAIT)
    if not client.is_initialized():
        client.close()
        raise NotInitializedError(f"no flags for {name(params)} within {START_WAIT} s")
    return client


def name(params: EnvironmentParams) -> str:
    return f"{params.identifiers.proj_name} / {params.identifiers.env_name}"


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # so that all is closed then too
    uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
    errors = HandlerErrors(retry=RetryPolicy(initial_delay=1.0, max_delay=30.0))
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(Clients()) as clients,
        StreamManager(os.environ["AUTO_CONFIG_KEY"], uri, clients, handler_errors=errors) as manager,
    ):
        manager.join()  # your program's own work goes here


if __name__ == "__main__":
    main()
