"""
Keep one client of LaunchDarkly's SDK for each environment, with its current key.

    AUTO_CONFIG_KEY=rel-… python client_per_environment.py

``SDK_URI`` sends the clients elsewhere than to LaunchDarkly's own hosts, for instance
to a Relay Proxy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys

from ldclient import LDClient
from ldclient.config import Config

from autoconfig import (
    EnvironmentID,
    EnvironmentParams,
    HandlerErrors,
    KeyRejectedError,
    MessageHandler,
    RetryPolicy,
    StreamManager,
)

# Seconds that a new client has for its first flags. The stream's thread waits
# meanwhile, and with it all other changes, so keep this below the manager's
# slow_callback and the timeout of close(), which are 5 s. It is right for some dozens
# of environments. With many, build() must not wait or raise: see the documentation.
START_WAIT = float(os.environ.get("SDK_START_WAIT", "4"))

log = logging.getLogger("clients")


class NotInitializedError(Exception):
    """A new client has no flags yet."""


class Clients(MessageHandler):
    """
    The clients, by environment.

    The stream's thread is the only one that changes them. A method that raises is
    called again, after a second at first and half a minute at last, until it succeeds
    or the environment changes once more. So each leaves things as they were when it
    raises, and none needs a retry of its own.
    """

    def __init__(self) -> None:
        self._clients: dict[EnvironmentID, LDClient] = {}

    def get(self, id: EnvironmentID) -> LDClient | None:
        """
        Return the client of an environment; from any thread.

        Ask for it anew in each request. One that was replaced still evaluates with the
        flags that it has, but sends no more events.
        """
        return self._clients.get(id)

    def add_environment(self, params: EnvironmentParams) -> None:
        self._clients[params.env_id] = build(params)
        log.info("built the client of %s", name(params))

    def update_environment(self, params: EnvironmentParams) -> None:
        old = self._clients[params.env_id]
        if params.sdk_key == old.get_sdk_key():
            return  # a new name or TTL, which no client has to know
        # The new one first. Until it is there, requests have the old one, whose key is
        # accepted for a while.
        self._clients[params.env_id] = build(params)
        old.close()
        log.info("replaced the client of %s", name(params))

    def delete_environment(self, id: EnvironmentID) -> None:
        # It is not there if its close() raised the last time.
        if client := self._clients.pop(id, None):
            client.close()
        log.info("closed the client of %s", id)

    def close(self) -> None:
        """Close all clients, which also sends their last events; after the manager."""
        while self._clients:
            id, client = self._clients.popitem()
            try:
                client.close()
            except Exception:  # the others have to be closed all the same
                log.exception("could not close the client of %s", id)


def build(params: EnvironmentParams) -> LDClient:
    """
    Return a client that has its flags, or raise.

    A new key may be refused at first, until all of the service's hosts know it.
    """
    uri = os.environ.get("SDK_URI")
    hosts = {"base_uri": uri, "stream_uri": uri, "events_uri": uri} if uri else {}
    config = Config(params.sdk_key, **hosts)
    client = LDClient(config, start_wait=START_WAIT)
    if not client.is_initialized():
        client.close()
        raise NotInitializedError(f"no flags for {name(params)} within {START_WAIT} s")
    return client


def name(params: EnvironmentParams) -> str:
    return f"{params.identifiers.proj_name} / {params.identifiers.env_name}"


def main() -> None:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # So that everything is closed then too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    key = os.environ.get("AUTO_CONFIG_KEY") or sys.exit("AUTO_CONFIG_KEY is not set")
    uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
    errors = HandlerErrors(retry=RetryPolicy(max_delay=30.0))
    try:
        with (
            contextlib.closing(Clients()) as clients,
            StreamManager(key, uri, clients, handler_errors=errors) as manager,
        ):
            manager.join()  # your program's own work goes here
    except KeyRejectedError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
