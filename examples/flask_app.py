"""
A Flask service that lists the environments under ``/environments``, without their keys.

    AUTO_CONFIG_KEY=rel-… flask --app flask_app run

The first request starts the stream, and not the import or ``create_app()``. Those also
run in processes that serve no requests: in the parent process of the reloader
(``--reload``, ``--debug``), in ``flask routes`` and ``flask shell``, and in the master
of a server that preloads, whose forked workers would not have the threads.
"""

from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from flask import Flask

from autoconfig import (
    AutoConfigError,
    EnvironmentParams,
    EnvironmentRegistry,
    StreamManager,
)

FIRST_WAIT = 5.0  # seconds that a request waits for the first configuration


class Stream:
    """A stream that the first request starts."""

    def __init__(self, key: str, uri: str) -> None:
        self.registry = EnvironmentRegistry()  # any thread may look up environments
        # This checks its arguments, and starts nothing.
        self.manager = StreamManager(key, uri, self.registry)
        self._lock = threading.Lock()  # guards _started; first requests may coincide
        self._started = False

    def start(self) -> None:
        with self._lock:
            if not self._started:
                self.manager.start()
                # Ends the connection properly. Without it nothing would hang, because
                # the threads are daemons.
                atexit.register(self.manager.close)
                self._started = True

    def wait_until_ready(self, timeout: float) -> bool:
        try:
            self.registry.wait_until_ready(timeout)
        except AutoConfigError:  # not in time; or never, if the key was refused
            return False
        return True


def create_app() -> Flask:
    """Return the application; ``flask run`` finds this function by its name."""
    app = Flask(__name__)
    # Made here, so that a server without a key fails at its start.
    uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
    stream = Stream(os.environ["AUTO_CONFIG_KEY"], uri)

    @app.get("/environments")
    def environments() -> Any:
        stream.start()
        if not stream.wait_until_ready(FIRST_WAIT):
            state = stream.manager.status.state.value
            return {"state": state}, 503, {"Retry-After": "5"}
        known = stream.registry.environments.values()
        return {
            # In an outage the last known list is better than none. The state
            # INTERRUPTED tells that it may be out of date.
            "state": stream.manager.status.state.value,
            "environments": [without_keys(params) for params in known],
        }

    return app


def without_keys(params: EnvironmentParams) -> dict[str, Any]:
    names = params.identifiers
    return {
        "id": params.env_id,
        "project": names.proj_name,
        "environment": names.env_name,
        "secureMode": params.secure_mode,
        "ttl": params.ttl.total_seconds(),
    }
