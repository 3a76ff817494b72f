"""A fleet for tests: the service, Redis, leaders in processes of their own, and followers that watch their calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from support.addresses import free_port
from support.redis_server import RedisServer
from support.waiting import wait_until

from autoconfig import EnvironmentParams, RetryPolicy, StreamManager
from autoconfig.messages import EnvironmentRep, FilterRep, SDKKeyRep
from autoconfig.redis import Leader, RedisSource
from autoconfig.testing import Emulator, RecordingHandler

NAME = "test"
SECRET = "a secret"
LEASE = 0.5  # seconds; a busy machine may need more for a sign of life, and another one leads then
LONG_LEASE = 5.0  # seconds; for tests in which nobody else may come to lead
LIMIT = 60.0  # seconds that anything may take on a busy machine
STATE, LOG = "{autoconfig:test}:state", "{autoconfig:test}:log"
QUICK = {"initial_retry_delay": 0.02, "retry_policy": RetryPolicy(max_delay=0.1)}


def environment(id: str, version: int = 1, **fields: Any) -> EnvironmentRep:
    """Return an environment whose keys are made from its id and version."""
    sdk_key = SDKKeyRep(f"sdk-{id}-{version}")  # type: ignore[arg-type]
    return EnvironmentRep(
        id, f"key-{id}", f"name-{id}", f"mob-{id}", "Shop", "shop", sdk_key, version=version, **fields
    )  # type: ignore[arg-type]


@contextmanager
def client_of(port: int) -> Iterator[redis.Redis]:
    """Make a client of a server of this machine."""
    client = redis.Redis(port=port, socket_timeout=LIMIT)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()  # which redis-py before 5.0.1 leaves open


class Follower:
    """A manager that follows Redis, with a handler that records its calls."""

    def __init__(self, url: str, secret: str | None = SECRET, **options: Any) -> None:
        self.source = RedisSource(url, NAME, secret)
        self.handler = RecordingHandler()
        self.manager = StreamManager.from_source(self.source, self.handler, **{**QUICK, **options})

    def has(self, service: Emulator) -> bool:
        """Return whether the handler was told of exactly the service's set."""
        wanted = {id: rep.to_params() for id, rep in service.environments.items()}
        filters = {id: rep.to_params(id) for id, rep in service.filters.items()}
        return self.handler.environments == wanted and self.handler.filters == filters

    def check_calls(self, *deleted: str) -> None:
        """Check that no call came twice, and that nothing was deleted but these."""
        known: dict[object, object] = {}
        for name, argument in self.handler.calls:
            if not name.startswith(("add", "update", "delete")):
                continue
            id = argument if isinstance(argument, str) else _id(argument)
            if name.startswith("delete"):
                assert known.pop(id, None) is not None, f"{id} was deleted twice, or before it was added"
                assert id in deleted, f"{id} was deleted"
            else:
                assert (id in known) is name.startswith("update"), f"{name} of {id} came twice or too early"
                assert known.get(id) != argument, f"{name} of {id} came twice"
                known[id] = argument


def _id(argument: object) -> str:
    return argument.env_id if isinstance(argument, EnvironmentParams) else argument.id  # type: ignore[attr-defined]


class Fleet:
    """
    A service, a server, and whoever was added.

    Attributes:
        service: What the fleet is to follow.
        server: Redis.
        client: A client of it.
    """

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._stack = stack
        environments = [environment(f"e{n}") for n in range(5)]
        self.service = stack.enter_context(Emulator(environments, {"f1": a_filter()}, port=free_port()))
        self.server = RedisServer(directory)
        stack.callback(self.server.stop)
        self.server.start()
        self.url = f"redis://127.0.0.1:{self.server.port}/0"
        self.client = stack.enter_context(client_of(self.server.port))
        self.followers: list[Follower] = []
        self.deleted: set[str] = set()

    def lead(self, url: str | None = None, *, wait: bool = True, **options: Any) -> Leader:
        """Add a leader in this process; unless told otherwise, wait until it leads."""
        options = {"secret": SECRET, "lease": LEASE, **options}
        leader = Leader(url or self.url, NAME, self.manager, **options)
        self._stack.enter_context(leader)
        assert not wait or leader.wait_until_leading(LIMIT)
        return leader

    def manager(self, handler: Any) -> StreamManager:
        """Return a manager of the service's stream."""
        return StreamManager(self.service.key, self.service.uri, handler, initial_retry_delay=0.1)

    def lead_in_process(self, url: str | None = None, lease: float = LEASE) -> subprocess.Popen[str]:
        """Add a leader in a process of its own; one may wait for what it does."""
        program = Path(__file__).with_name("leader.py")
        command = [sys.executable, str(program), url or self.url, self.service.uri, self.service.key, str(lease)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._stack.callback(_end, process)
        assert process.stdout
        assert process.stdout.readline() == "started\n"
        return process

    def follow(self, url: str | None = None, **options: Any) -> Follower:
        """Add a follower."""
        follower = Follower(url or self.url, **options)
        self._stack.enter_context(follower.manager)
        self.followers.append(follower)
        return follower

    def owner(self) -> bytes | None:
        """Return who leads."""
        return self.client.hget(STATE, "#owner")  # type: ignore[return-value]

    def change(self) -> None:
        """Make one change of each kind."""
        first = min(self.service.environments)
        self.service.delete_environment(first)
        self.deleted.add(first)
        self.service.set_environment(environment(f"new-{time.monotonic_ns()}"))
        self.service.rotate_sdk_key(max(self.service.environments), f"sdk-{time.monotonic_ns()}")

    def settle(self) -> None:
        """Wait until all followers have exactly the service's set, and check how they came there."""
        for follower in self.followers:
            wait_until(lambda: follower.has(self.service), "the service's set")  # noqa: B023  # it is called at once
            follower.check_calls(*self.deleted)


@contextmanager
def fleet(directory: Path) -> Iterator[Fleet]:
    """Make a fleet without leader and followers, and end all of it."""
    with ExitStack() as stack:
        yield Fleet(directory, stack)


def a_filter(version: int = 1) -> FilterRep:
    """Return a payload filter."""
    return FilterRep("shop", "half", version)  # type: ignore[arg-type]


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.kill(process.pid, signal.SIGCONT)
        process.terminate()
    process.wait(LIMIT)
    if process.stdout:
        process.stdout.close()
