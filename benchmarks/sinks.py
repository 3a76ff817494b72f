"""What the clients call, and what is written down while they do: one trivial call for each environment."""

from __future__ import annotations

import copy
import resource
import threading
import time
from typing import Any

# What a client hands over: the environment's dict, an object with its fields, or the library's EnvironmentParams.
Environment = Any


class Sink:
    """
    Counts environments and stops the clocks at the last one.

    Args:
        changes: How many patches the stream has; 0 if puts are all.
        puts: How many puts the stream has.

    Attributes:
        finished: Set when the last environment has come. Clients that loop look at ``done``, which is quicker.
        count: How many environments have come.
        times: Nanoseconds (``perf_counter``) of the start, of the end of the put, and of the finish.
        cpu: Seconds of user and system time between start and finish, all threads together.
        cpu_of_puts: The same between the start and the end of each put.
    """

    def __init__(self, changes: int, puts: int = 1) -> None:
        self.finished = threading.Event()
        self.done = False
        self.count = 0
        self.times = {"start": 0, "put": 0, "finish": 0}
        self.cpu = 0.0
        self.cpu_of_puts: list[float] = []
        self._changes = changes
        self._changed = 0
        self._puts = puts
        self._cpu_before = 0.0

    def start(self) -> None:
        """Start the clocks; the next thing is to connect."""
        self._cpu_before = cpu_seconds()
        self.times["start"] = time.perf_counter_ns()

    def added(self, environment: Environment) -> None:
        """Take an environment of the put."""
        self.count += 1

    def put_ended(self) -> None:
        """Note that a put is over."""
        self.times["put"] = time.perf_counter_ns()
        self.cpu_of_puts.append(cpu_seconds() - self._cpu_before)
        if not self._changes and len(self.cpu_of_puts) == self._puts:
            self.finish()

    def changed(self, environment: Environment) -> None:
        """Take an environment of a patch."""
        self.count += 1
        self._changed += 1
        if self._changed == self._changes:
            self.finish()

    def finish(self) -> None:
        """Stop the clocks."""
        self.times["finish"] = time.perf_counter_ns()
        self.cpu = cpu_seconds() - self._cpu_before
        self.done = True
        self.finished.set()


class LatencySink(Sink):
    """Also measures how long each patch took; its environment's name is the instant of its sending."""

    def __init__(self, changes: int) -> None:
        super().__init__(changes)
        self.latencies: list[int] = []  # ns

    def changed(self, environment: Environment) -> None:
        now = time.monotonic_ns()
        self.latencies.append(now - _sent(environment))
        super().changed(environment)


class SpinSink(Sink):
    """
    Works for about 50 µs a patch, and holds the GIL.

    A number of turns and not a time: a loop that looks at the clock would finish its work while another thread has
    the GIL.

    Attributes:
        worked: Seconds of CPU that the work itself took. They are counted in the run, because the speed of a processor
            core changes by half from one second to the next if another machine shares it.
    """

    def __init__(self, changes: int) -> None:
        super().__init__(changes)
        self._turns = range(1000)
        self._turns = range(round(1000 * 50e-6 / min(self._work() for _ in range(200))))
        self.worked = 0.0

    def changed(self, environment: Environment) -> None:
        self.worked += self._work()
        super().changed(environment)

    def _work(self) -> float:
        start = time.thread_time()
        for _ in self._turns:
            pass
        return time.thread_time() - start


class WaitSink(Sink):
    """Waits for 50 µs a patch, without the GIL; with the timer's slack, that takes about 110."""

    def changed(self, environment: Environment) -> None:
        time.sleep(50e-6)
        super().changed(environment)

    def bound(self, calls: int) -> float:
        """Return how many microseconds a call takes when nothing else runs."""
        spare = copy.copy(self)
        spare._changes = -1  # never finishes
        start = time.perf_counter()
        for _ in range(calls):
            spare.changed(None)
        return (time.perf_counter() - start) * 1e6 / calls


class IdleSink(Sink):
    """Says when the put has come, and never finishes."""

    def put_ended(self) -> None:
        print("ready", flush=True)


class Ticker:
    """Another thread of the program, which only wants to run every millisecond; notes how long it could not."""

    def __init__(self) -> None:
        self.longest = 0.0  # seconds
        self._stopping = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Ticker:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        self._thread.join()

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._stopping:
            time.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


def _sent(environment: Environment) -> int:
    if type(environment) is dict:
        return int(environment["envName"])
    holder: Any = getattr(environment, "identifiers", environment)
    return int(holder.env_name)


def cpu_seconds() -> float:
    """Return the user and system time of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
