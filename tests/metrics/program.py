"""A program that follows the stream at ``STREAM_URI`` with everything that can be measured; says where to scrape it."""

from __future__ import annotations

import os
import sys
import threading

from ldclient.config import Config
from prometheus_client import CollectorRegistry, start_http_server

from autoconfig import EnvironmentRegistry, RetryPolicy, StreamManager
from autoconfig.clients import ClientPool
from autoconfig.metrics import StreamCollector, TimedHandler


def main() -> None:
    """Run until the process is ended from outside."""
    environments = EnvironmentRegistry()
    pool = ClientPool(lambda params: Config(params.sdk_key, offline=True))
    handler = TimedHandler(environments.wrap(pool))
    manager = StreamManager(
        os.environ["STREAM_KEY"], os.environ["STREAM_URI"], handler, retry_policy=RetryPolicy(max_delay=0.2)
    )
    registry = CollectorRegistry()
    sources = {"registries": {"main": environments}, "handlers": {"main": handler}, "pools": {"main": pool}}
    registry.register(StreamCollector({"main": manager}, **sources))  # type: ignore[arg-type]
    server, _ = start_http_server(0, "127.0.0.1", registry)
    manager.start()
    environments.wait_until_ready(30)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    threading.Event().wait()


if __name__ == "__main__":
    main()
