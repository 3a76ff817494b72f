"""
What the last known configuration costs: ``python -m benchmarks.store`` (half a minute).

Milliseconds to save and to load (wall clock and CPU), and the size, for files with and without encryption and, if there
is a redis-server, for the relay's form in Redis. Files are written to the current directory's file system.
"""

from __future__ import annotations

import gc
import json
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoconfig.cache import FileStore
from autoconfig.messages import PutContent
from autoconfig.store import ConfigurationStore

from .payloads import put_data

COUNTS = (100, 1_000, 10_000)
ROUNDS = 7
SECRET = "0123456789abcdef0123456789abcdef"


def milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return how long the work takes, in ms of the clock on the wall (median) and of this process's CPU (least)."""
    wall, cpu = [], []
    for _ in range(ROUNDS):
        gc.collect()
        start, cpu_start = time.perf_counter(), time.process_time()
        work()
        wall.append((time.perf_counter() - start) * 1e3)
        cpu.append((time.process_time() - cpu_start) * 1e3)
    return statistics.median(wall), min(cpu)


def report(name: str, count: int, store: ConfigurationStore, content: PutContent, size: Callable[[], int]) -> None:
    """Measure one store and print a row."""
    save = milliseconds(lambda: store.save(content))
    load = milliseconds(store.load)
    cached = store.load()
    assert cached is not None
    assert cached.content == content
    figures = " | ".join(f"{wall:.1f} / {cpu:.1f}" for wall, cpu in (save, load))
    print(f"| {name} | {count:,} | {figures} | {size() / 1024:,.0f} |", flush=True)


@contextmanager
def redis_port(directory: Path) -> Iterator[int]:
    """Run a redis-server while the block runs."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--save", "", "--dir", str(directory), "--logfile", "log"]
    server = subprocess.Popen(command)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def main() -> int:
    """Measure all and print a table."""
    print("| store | environments | save ms, wall / CPU | load ms, wall / CPU | KiB |\n| --- | --: | --: | --: | --: |")
    contents = {count: PutContent.from_json(json.loads(put_data(count))["data"]) for count in COUNTS}
    with tempfile.TemporaryDirectory(dir=".") as name:
        path = Path(name) / "cache"
        for title, key in (("file", None), ("encrypted file", SECRET)):
            for count, content in contents.items():
                store = FileStore(path, scope="benchmark", encryption_key=key)
                report(title, count, store, content, lambda: path.stat().st_size)
        if shutil.which("redis-server"):
            from redis import Redis

            from autoconfig.redis import RelayStore

            with redis_port(Path(name)) as port, Redis(port=port) as client:
                for count, content in contents.items():
                    relay_store = RelayStore(client, "cache", SECRET)
                    report("Redis", count, relay_store, content, lambda: _size(client))
    return 0


def _size(client: object) -> int:
    return sum(len(field) + len(value) for field, value in client.hgetall("cache").items())  # type: ignore[attr-defined]


if __name__ == "__main__":
    sys.exit(main())
