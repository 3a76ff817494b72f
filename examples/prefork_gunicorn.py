"""
An application for gunicorn, and its configuration: each worker follows the stream.

    AUTO_CONFIG_KEY=rel-… gunicorn -c python:prefork_gunicorn prefork_gunicorn:app

Threads do not survive a fork, so ``post_fork`` starts the manager in each worker. This
works with and without ``--preload``, which imports the application before the fork. If
you start the manager at import instead, it works without ``--preload`` only. With it,
the manager runs in gunicorn's master, and the workers have none. (The library notices:
in the worker it logs a WARNING, and ``join()`` raises ``ForkedError``.)

The option has to be ``-c python:prefork_gunicorn``. It imports this module, so that
hooks and application share ``manager``. With ``-c prefork_gunicorn.py`` gunicorn would
run the file a second time, as a module with another name.
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

# Made before the fork, so that a missing key ends gunicorn at once, and not one worker
# after the other. This starts nothing: each worker starts its own copy.
registry = EnvironmentRegistry()
uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
manager = StreamManager(os.environ["AUTO_CONFIG_KEY"], uri, registry)


def post_fork(server: object, worker: object) -> None:
    """Called by gunicorn in each new worker."""
    manager.start()


def worker_exit(server: object, worker: object) -> None:
    """Called by gunicorn in each worker that ends regularly."""
    manager.close()


def app(
    environ: dict[str, Any], start_response: Callable[..., object]
) -> Iterable[bytes]:
    """Answer every request with the environments that this worker knows."""
    state = manager.status.state.value
    answer: dict[str, Any] = {"worker": os.getpid(), "state": state}
    status = "503 Service Unavailable"
    with contextlib.suppress(AutoConfigError):  # the state tells what is wrong
        registry.wait_until_ready(timeout=5.0)
        status = "200 OK"
        names = [params.identifiers for params in registry.environments.values()]
        answer["environments"] = sorted(f"{n.proj_name} / {n.env_name}" for n in names)
    body = json.dumps(answer).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]
