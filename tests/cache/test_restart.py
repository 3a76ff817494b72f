"""A service that is killed and started again during an outage: two processes, and no service for the second one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cache.samples import KEY as SECRET
from cache.samples import SECRETS, full_environment
from support.addresses import free_port
from support.managing import KEY
from support.waiting import wait_until

from autoconfig import SDKKey
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.testing import Emulator

PROGRAM = """
import json, logging, os, sys
from autoconfig import EnvironmentRegistry, RetryPolicy, StreamManager
from autoconfig.cache import FileStore

logging.basicConfig(level=logging.DEBUG)
registry = EnvironmentRegistry()
cache = FileStore(sys.argv[2], scope="shop", encryption_key=os.environ.get("CACHE_KEY"))
options = {"initial_retry_delay": 0.05, "retry_policy": RetryPolicy(max_delay=0.1), "cache": cache}
with StreamManager(lambda: os.environ["AUTO_CONFIG_KEY"], sys.argv[1], registry, **options) as manager:
    manager.wait_until_ready(20)
    for line in sys.stdin:
        status = manager.status
        known = {id: params.identifiers.env_name for id, params in registry.environments.items()}
        print(json.dumps([status.content.value, status.state.value, known]), flush=True)
"""


class Service:
    """The program in a process of its own."""

    def __init__(self, uri: str, path: Path, secret: str | None) -> None:
        variables = {**os.environ, "AUTO_CONFIG_KEY": KEY, **({"CACHE_KEY": secret} if secret else {})}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, uri, str(path)], env=variables, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.log = ""
        self._reader = threading.Thread(target=self._read_log)
        self._reader.start()

    def look(self) -> list[Any]:
        """Return source, state, and the names of the environments by id."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: list[Any] = json.loads(self.process.stdout.readline())
        return found

    def kill(self) -> None:
        self.process.kill()
        self.end()

    def end(self) -> None:
        """Let it end by itself, unless it was killed."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream
            stream.close()

    def _read_log(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            self.log += line


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    running: list[Service] = []

    def start(uri: str, secret: str | None) -> Service:
        running.append(Service(uri, tmp_path / "cache", secret))
        return running[-1]

    yield start
    for one in running:
        if one.process.returncode is None:
            one.kill()


def named(id: str, name: str, version: int) -> EnvironmentRep:
    return full_environment(id, version, envName=name)


@pytest.mark.parametrize("secret", [None, SECRET], ids=["plain", "encrypted"])
def test_a_restart_in_an_outage(start: Callable[..., Service], tmp_path: Path, secret: str | None) -> None:
    before = [named(id, f"{id} 1", 7) for id in ("same", "changed", "lower", "gone", "refused")]
    port = free_port()
    emulator = Emulator(before, key=KEY, port=port)
    with emulator:
        first = start(emulator.uri, secret)
        assert first.look()[:2] == ["STREAM", "VALID"]
        emulator.set_environment(named("changed", "changed 2", 8))
        wait_until(lambda: first.look()[2]["changed"] == "changed 2")
        emulator.set_environment(named("same", "same 2", 9))
        wait_until(lambda: first.look()[2]["same"] == "same 2")
        first.end()  # it closes its manager, which saves once more
    second = start(emulator.uri, secret)
    known = {"same": "same 2", "changed": "changed 2", "lower": "lower 1", "gone": "gone 1", "refused": "refused 1"}
    source, state, served = second.look()
    assert (source, state) == ("CACHE", "INITIALIZING")
    assert served == known
    second.kill()  # also after a crash
    third = start(emulator.uri, secret)
    assert third.look()[2] == known
    contradictory = msgspec.structs.replace(named("refused", "refused 3", 9), sdk_key=SDKKeyRep(SDKKey("sdk-other")))
    now = [named("same", "same 2", 3), named("changed", "changed 3", 9), named("lower", "lower 3", 2)]
    again = Emulator([*now, named("new", "new 3", 1), contradictory], key=KEY, port=port)
    with again:
        wait_until(lambda: third.look()[0] == "STREAM")
        source, state, served = third.look()
        assert served == {
            "same": "same 2", "changed": "changed 3", "lower": "lower 3", "refused": "refused 1", "new": "new 3"
        }  # fmt: skip
        third.kill()
    logged = "".join(one.log for one in (first, second, third))
    assert "Loaded from the cache: 5 environments" in logged
    assert not [one for one in (*SECRETS, KEY, "sdk-same", "mob-same") if one in logged]


def test_a_kill_at_any_moment_leaves_a_cache(start: Callable[..., Service]) -> None:
    """The program is killed while changes come in; what the next one serves is a state that there was."""
    emulator = Emulator([named("e1", "0", 1)], key=KEY, port=free_port())
    with emulator:
        first = start(emulator.uri, None)
        first.look()
        stop = threading.Event()
        newest = [0]

        def change() -> None:
            number = 1
            while not stop.wait(0.002):
                emulator.set_environment(named("e1", str(number), number + 1))
                newest.append(number)
                number += 1

        changing = threading.Thread(target=change)
        changing.start()
        wait_until(lambda: int(first.look()[2]["e1"]) > 200)
        first.kill()
        stop.set()
        changing.join()
    second = start(emulator.uri, None)
    source, _, served = second.look()
    assert source == "CACHE"
    assert 0 < int(served["e1"]) <= newest[-1]


FORKING = """
import os, sys, threading, time, warnings
from autoconfig import EnvironmentRegistry, ForkedError, StreamManager
from autoconfig.cache import FileStore
from autoconfig.messages import PutContent

warnings.simplefilter("ignore", DeprecationWarning)  # a fork of a process with threads
path = sys.argv[1]
FileStore(path, scope="s").save(PutContent())


class Hanging(FileStore):
    entered, forked = threading.Event(), threading.Event()

    def load(self):
        self.entered.set()
        assert self.forked.wait(60)
        return super().load()


manager = StreamManager("rel-0123456789abcdef", "http://127.0.0.1:9", EnvironmentRegistry(), cache=Hanging(path, scope="s"))
manager.start()
assert Hanging.entered.wait(30)
child = os.fork()
if child == 0:
    begin = time.monotonic()
    assert manager.status.state.value == "OFF"
    assert manager.close() and time.monotonic() - begin < 5
    own = StreamManager("rel-0123456789abcdef", "http://127.0.0.1:9", EnvironmentRegistry(), cache=FileStore(path, scope="s"))
    with own:
        own.wait_until_ready(30)
        assert own.status.content.value == "CACHE"
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
Hanging.forked.set()
manager.wait_until_ready(30)
assert manager.status.content.value == "CACHE"
manager.close()
"""  # noqa: E501


def test_a_fork_during_a_load(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FORKING, str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
