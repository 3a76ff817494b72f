"""
The soak: ten thousand reconnections and a million events, and nothing grows.

``python -m benchmarks.soak`` (minutes), ``python -m benchmarks.soak --quick`` (seconds). Three processes: a server that
sends what was rendered before and ends its connections in five ways, a client of this library whose handler fails now
and then, and this one, which looks at the client from outside. It exits with 1 if the client is not flat.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import os
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .payloads import ID, chunk, compact_json, environment

ENVIRONMENTS = 50
SAMPLES = 200
WARM_UP = 0.2  # the share of the samples that is not judged: caches fill, the allocator takes its arenas
MAX_GROWTH = 2.0  # MB that the line through the judged samples may rise by; one arena of the allocator is 1 MB
MAX_DESCRIPTORS = 4  # that a connection may add: its socket, the token's duplicate, and those of the one before
_ENDS = ("eof", "abrupt", "reset", "reconnect", "malformed")
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_MARK, _FIRST = b"777777", 100_000  # the digits of each version that are replaced by the connection's number
_LAST = {
    "eof": b"0\r\n\r\n",
    "reconnect": chunk(b"event: reconnect\ndata: {}\n\n"),
    "malformed": chunk(b'event: patch\ndata: {"path": "/environments/\n\n'),
}
_FAILING = 997  # every so-manieth call of the handler raises


class Sample(NamedTuple):
    """The client at one moment."""

    events: int
    connections: int
    memory: float  # MB, resident
    threads: int
    descriptors: int


def serve(events: int, limit: int) -> None:
    """Be the server: print the port, answer each request with so many events, end with the standard input."""
    signal.alarm(limit)  # its default action ends the process
    body = _rendered(events)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
        for number in itertools.count():  # one client, so one connection at a time
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                _answer(connection, body.replace(_MARK, b"%d" % (_FIRST + number)), _ENDS[number % len(_ENDS)])


def _rendered(events: int) -> bytes:
    """Return the answer: a put, and patches that each raise a version of one of its environments."""
    reps = [environment(number) for number in range(ENVIRONMENTS)]
    for rep in reps:
        rep["version"] = int(_MARK + b"000")
    everything = {"environments": {rep[ID]: rep for rep in reps}, "filters": {}}
    messages: list[tuple[str, Any]] = [("put", {"path": "/", "data": everything})]
    for number in range(events - 1):
        rep = dict(reps[number % ENVIRONMENTS], version=int(b"%b%03d" % (_MARK, number // ENVIRONMENTS + 1)))
        messages.append(("patch", {"path": f"/environments/{rep[ID]}", "data": rep}))
    return _HEAD + b"".join(chunk(f"event: {name}\ndata: {compact_json(data)}\n\n".encode()) for name, data in messages)


def _answer(connection: socket.socket, body: bytes, end: str) -> None:
    connection.settimeout(30.0)
    while not connection.recv(65536).endswith(b"\r\n\r\n"):
        pass
    connection.sendall(body + _LAST.get(end, b""))
    if end == "reset":
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif end in ("reconnect", "malformed"):
        connection.recv(1)  # the client leaves


def follow(url: str, events: int, connections: int, limit: int, leak: int) -> None:
    """Be the client: print a line for each step of progress, and one of JSON at the end."""
    from autoconfig import HandlerErrors, MessageHandler, RetryPolicy, StreamManager

    signal.alarm(limit)
    logger = logging.getLogger("soak")  # everything is logged, and the lines go nowhere
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
    before, done = _descriptors("self"), threading.Event()
    steps = iter([number / SAMPLES for number in range(1, SAMPLES + 1)])
    leaked: list[bytes] = []

    class Handler(MessageHandler):
        calls = puts = 0
        step = next(steps)

        def update_environment(self, params: object) -> None:
            self.calls += 1
            if self.calls % _FAILING == 0:
                raise ValueError("one of those that fail")

        def received_all_environments(self) -> None:
            self.puts += 1
            if leak:
                leaked.append(os.urandom(leak))
            received = manager.status.events_received
            while not done.is_set() and min(received / events, (self.puts - 1) / connections) >= self.step:
                print(received, self.puts, flush=True)
                self.step = next(steps, 2.0)
                if self.step > 1:
                    done.set()

    handler = Handler()
    retries = RetryPolicy(max_delay=0.05)
    policy = RetryPolicy(max_delay=0.002)
    manager = StreamManager(
        "rel-soak", url, handler, logger=logger, retry_policy=policy, handler_errors=HandlerErrors(retry=retries)
    )
    with manager:
        done.wait()
        sys.stdin.readline()  # the last sample is taken
        status = manager.status
    left = {"threads": threading.active_count() - 1, "descriptors": _descriptors("self") - before}
    print(
        json.dumps({"calls": handler.calls, "failed": status.failed_callbacks, "left": left, "leaked": len(leaked)}),
        flush=True,
    )


def run(options: argparse.Namespace) -> tuple[list[Sample], dict[str, Any], float]:
    """Run both processes; return the samples, what the client said at the end, and the seconds that it took."""
    each = max(2, round(options.events / options.reconnects))
    begin = time.monotonic()
    samples: list[Sample] = []
    with ExitStack() as stack:
        server = stack.enter_context(_process("server", each, options.limit))
        assert server.stdout
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        arguments = (url, options.events, options.reconnects, options.limit, options.leak)
        client = stack.enter_context(_process("client", *arguments))
        stack.callback(server.kill)
        stack.callback(client.kill)
        assert client.stdout
        assert client.stdin
        for line in client.stdout:
            if line.startswith("{"):
                return samples, json.loads(line), time.monotonic() - begin
            received, connections = map(int, line.split())
            samples.append(_sample(client.pid, received, connections))
            if len(samples) == SAMPLES:
                client.stdin.write("\n")
                client.stdin.flush()
    raise SystemExit(f"the client ended early, after {len(samples)} samples and {time.monotonic() - begin:.0f} s")


def _process(role: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.soak", "--role", role, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _sample(pid: int, received: int, connections: int) -> Sample:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    memory, threads = int(fields["VmRSS"].split()[0]) / 1024, int(fields["Threads"])
    return Sample(received, connections, memory, threads, _descriptors(str(pid)))


def _descriptors(pid: str) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def judge(samples: list[Sample], end: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the figures, and what is not flat in them."""
    judged = samples[int(len(samples) * WARM_UP) :]
    places = [sample.events for sample in judged]
    slope, _ = statistics.linear_regression(places, [sample.memory for sample in judged])
    growth = slope * (places[-1] - places[0])
    threads = sorted({sample.threads for sample in judged})
    descriptors = sorted({sample.descriptors for sample in judged})
    figures = {
        "events": samples[-1].events,
        "reconnects": samples[-1].connections - 1,
        "samples": len(samples),
        "memory_first": round(judged[0].memory, 2),
        "memory_last": round(judged[-1].memory, 2),
        "memory_most": round(max(sample.memory for sample in samples), 2),
        "memory_growth": round(growth, 3),
        "bytes_per_reconnect": round(growth * 2**20 / (judged[-1].connections - judged[0].connections), 1),
        "threads": threads,
        "descriptors": descriptors,
        **end,
    }
    checks = {
        f"memory grew by {growth:.2f} MB, which may be {MAX_GROWTH}": growth <= MAX_GROWTH,
        f"threads are not constant: {threads}": len(threads) == 1,
        f"descriptors are not bounded: {descriptors}": descriptors[-1] - descriptors[0] <= MAX_DESCRIPTORS,
        f"left after close: {end['left']}": not any(end["left"].values()),
        f"no call failed of {end['calls']}": end["failed"] > 0,
    }
    return figures, [text for text, passed in checks.items() if not passed]


def plot(samples: list[Sample], path: Path) -> None:
    """Draw what was seen, with the line that is judged."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    judged = samples[int(len(samples) * WARM_UP) :]
    slope, start = statistics.linear_regression([s.events for s in judged], [s.memory for s in judged])
    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(9, 7), height_ratios=[3, 1, 1])
    places = [sample.events / 1000 for sample in samples]
    axes[0].plot(places, [sample.memory for sample in samples], label="resident memory")
    axes[0].plot([s.events / 1000 for s in judged], [start + slope * s.events for s in judged], "--", label="fit")
    top = 1.2 * max(sample.memory for sample in samples)
    axes[0].set(ylabel="MB", ylim=(0, top), title=f"{samples[-1].connections - 1:,} reconnections")
    axes[0].legend(loc="lower right")
    axes[1].step(places, [sample.threads for sample in samples], where="mid")
    axes[1].set(ylabel="threads", ylim=(0, None))
    axes[2].step(places, [sample.descriptors for sample in samples], where="mid", linewidth=0.7)
    axes[2].set(ylabel="descriptors", ylim=(0, None), xlabel="thousands of events received")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args()
    if options.role:
        role, *arguments = options.role
        if role == "server":
            serve(*map(int, arguments))
        else:
            follow(arguments[0], *map(int, arguments[1:]))
        return 0
    if options.quick:
        options.events, options.reconnects = 50_000, 500
    samples, end, took = run(options)
    figures, wrong = judge(samples, end)
    if options.png:
        plot(samples, options.png)
    print(
        f"{'NOT FLAT' if wrong else 'flat'}: {figures['reconnects']} reconnections, {figures['events']} events, "
        f"{took:.0f} s; memory {figures['memory_first']} → {figures['memory_last']} MB "
        f"(fit {figures['memory_growth']:+} MB), threads {figures['threads']}, descriptors {figures['descriptors']}"
    )
    print(json.dumps({**figures, "seconds": round(took, 1), "wrong": wrong}))
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="how many, default 1,000,000")
    parser.add_argument("--reconnects", type=int, default=10_000, help="how many, default 10,000")
    parser.add_argument("--quick", action="store_true", help="a twentieth of that")
    parser.add_argument("--limit", type=int, default=900, help="seconds after which both processes end, default 900")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw it, with matplotlib")
    parser.add_argument("--leak", type=int, default=0, metavar="BYTES", help="have the handler leak with each put")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
