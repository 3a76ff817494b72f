"""A process that may lead a fleet until it is told to end; its arguments: Redis, the service, its key, the lease."""

from __future__ import annotations

import logging
import signal
import sys
import threading

from autoconfig import StreamManager
from autoconfig.redis import Leader


def main() -> None:
    redis, service, key, lease = sys.argv[1:]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())

    def follow(handler: object) -> StreamManager:
        return StreamManager(key, service, handler, initial_retry_delay=0.1)  # type: ignore[arg-type]

    with Leader(redis, "test", follow, secret="a secret", lease=float(lease)) as leader:
        leader.wait_until_leading(0.5)
        sys.stdout.write("started\n")
        sys.stdout.flush()
        while not ended.wait(1):  # a signal right before a system call does not interrupt it
            pass


main()
