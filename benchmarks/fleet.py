"""
What a fleet on Redis costs: ``python -m benchmarks.fleet`` (a minute and a half; needs redis-server).

From a change to the handler, direct and through Redis; the time to the next leader; 1,000 raw followers and 50 real
ones; what a follower's start brings; and what follows from that for 10,000.
"""

from __future__ import annotations

import argparse
import re
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis

from autoconfig import EnvironmentParams, MessageHandler, StreamManager
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.redis import Leader, RedisSource
from autoconfig.testing import Emulator

from .plots import chart
from .results import Stat
from .store import redis_port

NAME, SECRET = "bench", "0123456789abcdef0123456789abcdef"
STATE, LOG = "{autoconfig:bench}:state", "{autoconfig:bench}:log"
ENVIRONMENTS = 1_000
LEASE = 1.0  # seconds
RAW, REAL, MANY = 1_000, 50, 10_000
_ID = re.compile(rb"(\d+)-0\r")


class Clock(MessageHandler):
    """Notes how long each change took to its call: the time of the change is the environment's name."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.count = 0

    def add_environment(self, params: EnvironmentParams) -> None:
        self.count += 1

    def update_environment(self, params: EnvironmentParams) -> None:
        self.delays.append(time.perf_counter() - float(params.identifiers.env_name))


def environment(number: int) -> EnvironmentRep:
    """Return an environment that was changed now."""
    keys = SDKKeyRep(f"sdk-00000000-0000-4000-8000-{number:012}")
    mobile = f"mob-00000000-0000-4000-8000-{number:012}"
    name = f"{time.perf_counter():.9f}"
    return EnvironmentRep(f"{number:024x}", f"env-{number}", name, mobile, "Project", "project", keys)


class Bench:
    """A service, Redis, a leader, and what the measurements share."""

    def __init__(self, stack: ExitStack) -> None:
        self.charted: dict[str, Stat] = {}  # delays in milliseconds, by what they are of
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.port = stack.enter_context(redis_port(folder))
        self.url = f"redis://127.0.0.1:{self.port}"
        self.redis = stack.enter_context(Redis(port=self.port))
        self.service = stack.enter_context(Emulator([environment(number) for number in range(ENVIRONMENTS)]))

    def manager(self, handler: MessageHandler) -> StreamManager:
        """Return a manager of the service's stream."""
        return StreamManager(self.service.key, self.service.uri, handler)

    def leader(self) -> Leader:
        """Return one that may lead."""
        return Leader(self.url, NAME, self.manager, secret=SECRET, lease=LEASE)

    def follower(self, clock: Clock) -> StreamManager:
        """Return a manager that follows Redis."""
        return StreamManager.from_source(RedisSource(self.url, NAME, SECRET), clock)

    def change(self, rate: float, seconds: float) -> int:
        """Change environments at this rate; return how many times."""
        count = round(rate * seconds)
        start = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, start + number / rate - time.perf_counter()))
            self.service.set_environment(environment(number % ENVIRONMENTS))
        time.sleep(0.3)
        return count

    def cpu(self) -> float:
        """Return the seconds of CPU that Redis has used."""
        found = self.redis.info("cpu")
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])  # type: ignore[index]

    def sent(self) -> int:
        """Return the bytes that Redis has sent."""
        return int(self.redis.info("stats")["total_net_output_bytes"])  # type: ignore[index]


class RawFollowers:
    """Connections that read the log and do nothing with it, all in one thread."""

    def __init__(self, port: int, count: int, after: int, sent_at: Callable[[int], float]) -> None:
        self.delays: list[float] = []
        self._sent_at = sent_at
        self._selector = selectors.DefaultSelector()
        self._stopping = False
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            self._selector.register(sock, selectors.EVENT_READ)
            self._ask(sock, after)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        """End them."""
        self._stopping = True
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _ask(self, sock: socket.socket, after: int) -> None:
        command = ["XREAD", "BLOCK", "60000", "STREAMS", LOG, f"{after}-0"]
        parts = "".join(f"${len(part)}\r\n{part}\r\n" for part in command)
        sock.sendall(f"*{len(command)}\r\n{parts}".encode())

    def _run(self) -> None:
        while not self._stopping:
            for key, _ in self._selector.select(0.1):
                sock = key.fileobj
                found = _ID.findall(sock.recv(65536))  # type: ignore[union-attr]
                now = time.perf_counter()
                if found:
                    self.delays.append(now - self._sent_at(int(found[-1])))
                    self._ask(sock, int(found[-1]))  # type: ignore[arg-type]


def milliseconds(delays: list[float], title: str, charted: dict[str, Stat]) -> str:
    """Return the median and the 99th percentile, and note them for the chart."""
    cuts = [cut * 1e3 for cut in statistics.quantiles(delays, n=100)]
    charted[title] = Stat(cuts[0], cuts[49], cuts[98], len(delays))
    return f"p50 {cuts[49]:.2f} ms, p99 {cuts[98]:.2f} ms"


def latency(bench: Bench) -> None:
    """From the change to the handler, without and with Redis between."""
    for title, make in (("direct", bench.manager), ("through Redis", bench.follower)):
        clock = Clock()
        with make(clock) as manager:  # type: ignore[operator]
            manager.wait_until_ready(30)
            clock.delays.clear()
            bench.change(100, 5)
        print(f"change to handler, 100/s, {title}: {milliseconds(clock.delays, title, bench.charted)}", flush=True)


def takeover(bench: Bench) -> None:
    """From the death of a leader to the next one's first write."""
    times = []
    for _ in range(5):
        dying = subprocess.Popen([sys.executable, "-m", "benchmarks.fleet", "--lead", bench.url, bench.service.uri])
        try:
            _wait(lambda: f":{dying.pid}:".encode() in (bench.redis.hget(STATE, "#owner") or b""))  # noqa: B023
            with bench.leader() as next_one:
                time.sleep(2 * LEASE)
                dying.kill()
                died_at = time.perf_counter()
                next_one.wait_until_leading(30)
                leading_at = time.perf_counter()
                _wait(lambda: next_one.status.writes)  # it is called at once
                times.append((leading_at - died_at, time.perf_counter() - died_at))
        finally:
            dying.kill()
            dying.wait()
    leads, writes = ([one[place] for one in times] for place in (0, 1))
    print(
        f"leader killed, lease {LEASE:g} s: the next one leads after {min(leads):.2f} to {max(leads):.2f} s, "
        f"and has written after {min(writes):.2f} to {max(writes):.2f} s",
        flush=True,
    )


def raw_followers(bench: Bench) -> float:
    """Cost of a change for Redis with many followers; return the CPU seconds for each."""
    written: dict[int, float] = {}

    def sent_at(sequence: int) -> float:
        return written.get(sequence, time.perf_counter())

    after = int(bench.redis.hget(STATE, "#seq") or 0)  # type: ignore[arg-type]
    raw = RawFollowers(bench.port, RAW, after, sent_at)
    try:
        before, changes = bench.cpu(), 50
        for number in range(changes):
            sequence = after + 1 + number
            written[sequence] = time.perf_counter()
            bench.redis.xadd(LOG, {"p": sequence - 1, "k": "c", "t": 0, "d": "x" * 400}, id=f"{sequence}-0")
            time.sleep(0.1)
        cost = (bench.cpu() - before) / changes / RAW
    finally:
        raw.close()
    delays = milliseconds(raw.delays, f"{RAW:,} that only read", bench.charted)
    print(f"{RAW:,} raw followers, 10 changes/s: {delays}; {len(raw.delays):,} deliveries")
    print(f"  CPU of Redis: {cost * 1e6:.1f} us a change and follower", flush=True)
    return cost


def real_followers(bench: Bench) -> float:
    """The same with real ones, all in this process; return the CPU seconds that an idle one costs in a second."""
    clocks = [Clock() for _ in range(REAL)]
    with ExitStack() as stack:
        for clock in clocks:
            stack.enter_context(bench.follower(clock)).wait_until_ready(30)
        time.sleep(3)
        before = bench.cpu()
        time.sleep(10)
        idle = (bench.cpu() - before) / 10
        for clock in clocks:
            clock.delays.clear()
        before = bench.cpu()
        count = bench.change(10, 5)
        cost = (bench.cpu() - before) / count
    delays = [delay for clock in clocks for delay in clock.delays]
    found = milliseconds(delays, f"{REAL} followers in one process", bench.charted)
    print(f"{REAL} real followers in one process, 10 changes/s: {found}; CPU {cost * 1e3:.2f} ms a change")
    with bench_idle(bench) as alone:
        pass
    each = max(0.0, idle - alone) / REAL
    print(f"  idle: CPU of Redis {idle * 100:.2f} % of a core, {alone * 100:.2f} % without them", flush=True)
    return each


@contextmanager
def bench_idle(bench: Bench) -> Iterator[float]:
    """The share of a core that Redis uses without followers."""
    before = bench.cpu()
    time.sleep(5)
    yield (bench.cpu() - before) / 5


def start(bench: Bench) -> int:
    """Return the bytes that a follower's start brings."""
    before = bench.sent()
    clock = Clock()
    began = time.perf_counter()
    with bench.follower(clock) as manager:
        manager.wait_until_ready(30)
        took = time.perf_counter() - began
    size = bench.sent() - before
    assert clock.count == ENVIRONMENTS
    print(f"start of a follower, {ENVIRONMENTS:,} environments: {size / 1024:.0f} KiB, {took * 1e3:.0f} ms", flush=True)
    return size


def compute(cost: float, idle: float, size: int) -> None:
    """What the figures say of many followers."""
    print(f"computed for {MANY:,} followers of {ENVIRONMENTS:,} environments:")
    print(f"  a change: {cost * MANY * 1e3:.0f} ms of CPU of Redis, so at most {1 / (cost * MANY):.0f} changes/s")
    print(f"  idle: {idle * MANY * 100:.0f} % of a core, {MANY:,} connections")
    print(f"  all start at once: {size * MANY / 2**30:.1f} GiB, {size * MANY * 8 / 10e9:.0f} s at 10 Gbit/s")


def main(plots: Path | None = None) -> int:
    """Measure all; write a chart of the delays into a folder."""
    if not shutil.which("redis-server"):
        raise SystemExit("needs redis-server")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096), most))
    with ExitStack() as stack:
        bench = Bench(stack)
        takeover(bench)
        with bench.leader() as leader:
            _wait(lambda: leader.status.writes)
            latency(bench)
            size = start(bench)
            idle = real_followers(bench)
        cost = raw_followers(bench)
        compute(cost, idle, size)
        if plots:
            title = "From a change to a follower, ms: median, and from the 1st to the 99th percentile"
            plots.mkdir(parents=True, exist_ok=True)
            (plots / "delays.svg").write_text(chart(title, list(bench.charted.items())))
    return 0


def lead(redis: str, service: str) -> None:
    """Lead until killed."""
    with Leader(
        redis, NAME, lambda handler: StreamManager(Emulator().key, service, handler), secret=SECRET, lease=LEASE
    ):
        threading.Event().wait()


def _wait(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.002)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plots", type=Path, help="write a chart into this folder, as SVG")
    parser.add_argument("--lead", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    sys.exit(lead(*arguments.lead) if arguments.lead else main(arguments.plots))
