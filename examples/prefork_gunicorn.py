"""
An application for gunicorn, and its configuration: each worker follows the stream.

    AUTO_CONFIG_KEY=rel-… gunicorn -c python:prefork_gunicorn prefork_gunicorn:app

Threads do not survive a fork. So the manager is started after it, in ``post_fork``,
whether or not there is ``--preload``, which imports the application once, before the
fork. A manager that is started at import works without ``--preload`` and fails with it:
it runs in gunicorn's master, and the workers have none. (The library notices. In the
worker it logs a WARNING, and ``join()`` raises ``ForkedError``.)

Note the ``python:``. It imports this module, so that hooks and application share
``manager``. With ``-c prefork_gunicorn.py`` gunicorn would run it a second time, as a
module of another name.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

from autoconfig import AutoConfigError, EnvironmentRegistry, StreamManager

# Settings of gunicorn.
workers = 2
worker_class = "gthread"
threads = 4

logging.basicConfig(
    level=logging.INFO,
    format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s",
)

# Made before the fork, so that a missing key ends gunicorn at once instead of one
# worker after the other. This starts nothing, so each worker has a copy of its own to
# start.
registry = EnvironmentRegistry()
uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
manager = StreamManager(os.environ["AUTO_CONFIG_KEY"], uri, registry)


def post_fork(server: object, worker: object) -> None:
    """Called by gunicorn in each new worker."""
    manager.start()


def worker_exit(server: object, worker: object) -> None:
    """Called by gunicorn in each worker that ends in good order."""
    manager.close()


def app(
    environ: dict[str, Any], start_response: Callable[..., object]
) -> Iterable[bytes]:
    """Answer every request with the environments that this worker knows."""
    state = manager.status.state.value
    answer: dict[str, Any] = {"worker": os.getpid(), "state": state}
    status = "503 Service Unavailable"
    with contextlib.suppress(AutoConfigError):  # the state says what is wrong
        registry.wait_until_ready(timeout=5.0)
        status = "200 OK"
        names = [params.identifiers for params in registry.environments.values()]
        answer["environments"] = sorted(f"{n.proj_name} / {n.env_name}" for n in names)
    body = json.dumps(answer).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]
