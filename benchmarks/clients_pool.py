"""
What a client for each environment costs: seconds, threads and memory.

    python -m benchmarks.clients_pool [ENVIRONMENTS ...]

The flag service runs in a process of its own, so that its threads and its memory do not count. Needs the extra
``clients``.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection

from ldclient.config import Config

from autoconfig import EnvIdentifiers, EnvironmentID, EnvironmentParams, FilterKey, MobileKey, SDKKey
from autoconfig.clients import ClientPool
from autoconfig.testing.flags import FlagService

FLAGS = 50
CALLS = 100_000


def serve(pipe: Connection) -> None:
    with FlagService({f"flag-{number}": number for number in range(FLAGS)}) as service:
        pipe.send(service.uri)
        pipe.recv()


def params(number: int, rotation: int) -> EnvironmentParams:
    key = SDKKey(f"sdk-{number:08}-0000-4000-8000-{rotation:012}")
    names = EnvIdentifiers(f"env-{number}", f"Env {number}", "shop", "Shop", FilterKey(""))
    return EnvironmentParams(EnvironmentID(f"{number}"), names, key, MobileKey("mob-1"), None, timedelta(), False)


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def resident() -> float:
    """Return the process's resident memory in MiB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def send(pool: ClientPool, count: int, rotation: int) -> None:
    for number in range(count):
        pool.update_environment(params(number, rotation))


def wait_for_rotation(pool: ClientPool, count: int) -> int:
    """Wait until all clients have the newest key; return the largest number of threads seen."""
    most = 0
    pause = threading.Event()
    while any(status.state.value != "working" for status in pool.status().values()):
        most = max(most, threading.active_count())
        pause.wait(0.005)
    return max(most, threading.active_count())


def borrow_all(pool: ClientPool) -> None:
    for _ in range(CALLS):
        with pool.borrow(EnvironmentID("0")):
            pass


def get_all(pool: ClientPool) -> None:
    for _ in range(CALLS):
        pool.get(EnvironmentID("0"))


def measure(uri: str, count: int) -> list[str]:
    hosts = {"base_uri": uri, "stream_uri": uri, "events_uri": uri}
    memory, threads = resident(), threading.active_count()
    pool = ClientPool(lambda environment: Config(environment.sdk_key, **hosts), linger=5)

    def start() -> None:
        send(pool, count, 0)
        pool.received_all_environments()
        assert pool.wait_until_ready(120)

    ready = seconds(start)
    running, used = threading.active_count() - threads, resident() - memory
    get, borrow = seconds(lambda: get_all(pool)) / CALLS, seconds(lambda: borrow_all(pool)) / CALLS
    most = 0

    def rotate() -> None:
        nonlocal most
        send(pool, count, 1)
        most = wait_for_rotation(pool, count) - threads

    rotated = seconds(rotate)
    closed = seconds(lambda: pool.close(60))
    return [
        f"{count}",
        f"{ready:.2f} s",
        f"{running:,}",
        f"{used:.1f}",
        f"{rotated:.2f} s",
        f"{most:,}",
        f"{closed:.2f} s",
        f"{get * 1e6:.2f} µs",
        f"{borrow * 1e6:.2f} µs",
    ]


def main() -> None:
    logging.disable(logging.CRITICAL)
    counts = [int(argument) for argument in sys.argv[1:]] or [1, 10, 100, 300]
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    service = context.Process(target=serve, args=(there,))
    service.start()
    uri = here.recv()
    heading = ["environments", "ready", "threads", "MiB", "all rotated", "most threads", "closed", "get", "borrow"]
    print("|", " | ".join(heading), "|")
    print("|" + "--:|" * len(heading))
    for count in counts:
        print("|", " | ".join(measure(uri, count)), "|", flush=True)
    here.send(None)
    service.join()


if __name__ == "__main__":
    main()
