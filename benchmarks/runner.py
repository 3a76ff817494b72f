"""Starts the load server and the workers, in turns, and stops them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .results import Run
from .scenarios import Scenario

_ROOT = Path(__file__).resolve().parent.parent
_SETTLING = 1.0  # seconds between the last event and the look at idle clients


class Suite:
    """
    Runs scenarios in rounds, so that a change of the machine's speed hits all clients alike.

    Args:
        scenarios: What to run.
        rounds: The most rounds.
        budget: Seconds; no round begins that would probably end later.
        idle: For how many seconds idle clients are watched.
    """

    def __init__(self, scenarios: list[Scenario], *, rounds: int, budget: float, idle: float) -> None:
        self.runs: list[Run] = []
        self._scenarios = scenarios
        self._rounds = rounds
        self._end = time.monotonic() + budget
        self._idle = idle

    def run(self) -> list[Run]:
        """Run everything; a run that fails is reported and left out."""
        repeated = [each for each in self._scenarios if each.kind != "idle"]
        # The small put is what the memory of the large one is compared with.
        with serving(sorted({"put/100", *(each.path for each in self._scenarios)})) as port:
            for scenario in self._scenarios:
                if scenario.kind == "idle":
                    self._watch_idle(scenario, port)
            for number in range(self._rounds if repeated else 0):
                start = time.monotonic()
                for scenario in repeated:
                    self._run_clients(scenario, number, port)
                took = time.monotonic() - start
                _say(f"round {number + 1} took {took:.0f} s")
                # The slow clients are in the first round only.
                if time.monotonic() + took * (0.6 if number == 0 else 1) > self._end:
                    break
        return self.runs

    def _run_clients(self, scenario: Scenario, number: int, port: int) -> None:
        turn = number % len(scenario.clients)
        for client in scenario.clients[turn:] + scenario.clients[:turn]:
            if number and client in scenario.slow:
                continue
            try:
                done = finish(_worker(scenario, client, port, scenario.limit), scenario.limit)
            except (ValueError, subprocess.TimeoutExpired) as error:
                _say(f"{scenario.name} {client}: FAILED: {error}")
                continue
            self.runs.append(Run(scenario.name, client, number, json.loads(done)))
            first = scenario.metrics[0]
            _say(f"{scenario.name} {client}: {first} {self.runs[-1].metrics.get(first, 0):.4g}")

    def _watch_idle(self, scenario: Scenario, port: int) -> None:
        """Count from outside how often each client wakes up; all at the same time, for they do nothing."""
        with ExitStack() as stack:
            workers = {}
            for client in scenario.clients:
                process = _worker(scenario, client, port, int(self._idle) + scenario.limit)
                stack.callback(_stop, process)
                assert process.stdout is not None
                if process.stdout.readline().strip() != "ready":
                    _say(f"idle {client}: FAILED")
                    continue
                workers[client] = process
            time.sleep(_SETTLING)
            before = {client: _switches(process.pid) for client, process in workers.items()}
            time.sleep(self._idle)
            for client, process in workers.items():
                wakeups = _switches(process.pid) - before[client]
                self.runs.append(Run(scenario.name, client, 0, {"wakeups": wakeups, "seconds": self._idle}))
                _say(f"idle {client}: {wakeups} wake-ups in {self._idle:g} s")


@contextmanager
def serving(paths: list[str]) -> Iterator[int]:
    """Run a load server that answers these paths; the value is its port."""
    process = start_python("benchmarks.server", *paths)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        _stop(process)


def _worker(scenario: Scenario, client: str, port: int, limit: int) -> subprocess.Popen[str]:
    url = f"http://127.0.0.1:{port}/{scenario.path}"
    return start_python("benchmarks.worker", client, scenario.kind, url, str(scenario.changes), str(limit))


def start_python(module: str, *arguments: str) -> subprocess.Popen[str]:
    """Start a module of the benchmarks in a process of its own."""
    # Neither proxies nor ~/.netrc: they would be looked up, or used.
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=_ROOT,
        env={**environment, "NO_PROXY": "127.0.0.1", "NETRC": os.devnull},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], limit: int) -> str:
    """Return what a process prints, once it has ended."""
    try:
        output, _ = process.communicate(timeout=limit + 10)
    finally:
        _stop(process)
    if process.returncode:
        raise ValueError(f"exit status {process.returncode}")
    return output


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    with process:  # closes the pipes and waits
        pass


def _switches(pid: int) -> int:
    """Return how often the threads of a process have given up the processor, to wait, so far."""
    statuses = [task.read_text() for task in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.split("\nvoluntary_ctxt_switches:")[1].split()[0]) for text in statuses)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
