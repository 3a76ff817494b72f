"""Packages that put themselves between a program and its network: gevent, eventlet, requests-cache and so on."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from neighbours.following import follow, needs, patch, put, write
from support import tls
from support.loopback import chunk
from support.raw_server import RawServer, answer

CHUNKED = {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}
SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])
SEEN = ["added", "complete", "closed at once"]
GEVENT = "from gevent import monkey; monkey.patch_all()"
EVENTLET = "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()"

# In the child nothing of the parent's goes on, and its event loop works; the parent's stream goes on.
FORK = """
import os
child = os.fork()
if not child:
    time.sleep(0.3)
    {child}
_, status = os.waitpid(child, 0)
print("child", os.waitstatus_to_exitcode(status), flush=True)
open(sys.argv[2] + ".forked", "w").close()
until(updated)
"""


@contextmanager
def service(scheme: str, gate: threading.Event | None = None) -> Iterator[RawServer]:
    """Yield a service that sends a put, and a patch when the gate is opened."""
    steps = [answer(200, CHUNKED), chunk(put()), gate or threading.Event(), chunk(patch())]
    with RawServer(steps, context=tls.server_context() if scheme == "https" else None) as server:
        yield server


@SCHEMES
@pytest.mark.parametrize(
    "before",
    [
        pytest.param(GEVENT, marks=needs("gevent"), id="gevent"),
        pytest.param(EVENTLET, marks=needs("eventlet"), id="eventlet"),
        pytest.param("import truststore; truststore.inject_into_ssl()", marks=needs("truststore"), id="truststore"),
        pytest.param("import urllib3_future", marks=needs("urllib3_future"), id="urllib3-future"),
    ],
)
def test_a_stream_is_followed_and_closed(before: str, scheme: str, tmp_path: Path) -> None:
    with service(scheme) as server:
        assert follow(server.url, tls.write_authority(tmp_path), before=before) == SEEN
        assert len(server.requests) == 1


@needs("requests_cache")
@SCHEMES
@pytest.mark.parametrize("when", ["before", "after"])
def test_requests_cache_does_not_cache_the_stream(scheme: str, when: str, tmp_path: Path) -> None:
    install = {when: "import requests_cache; requests_cache.install_cache(backend='memory')"}
    with service(scheme) as server:
        assert follow(server.url, tls.write_authority(tmp_path), **install) == SEEN


@needs("gevent")
@SCHEMES
@pytest.mark.parametrize("child", ["os._exit(7)", "sys.exit(7)"])
def test_a_fork_under_gevent_leaves_the_event_loops_alone(scheme: str, child: str, tmp_path: Path) -> None:
    """A descriptor that the child's loop still watches must not be closed there."""
    gate = threading.Event()
    authority = tls.write_authority(tmp_path)

    def open_after_the_fork() -> None:
        deadline = time.monotonic() + 60
        while not os.path.exists(f"{authority}.forked") and time.monotonic() < deadline:
            time.sleep(0.01)
        gate.set()

    opener = threading.Thread(target=open_after_the_fork)
    opener.start()
    with service(scheme, gate) as server:
        lines = follow(server.url, authority, before=GEVENT, body=FORK.format(child=child), level="ERROR")
    opener.join()
    assert lines == ["added", "complete", "child 7", "updated", "closed at once"]


INNER = """
import time
from autoconfig import StreamManager, HTTPConfig
from support.recorder import Recorder

def test_inner(pytestconfig):
    recorder = Recorder()
    with StreamManager("rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a", "{url}", recorder) as manager:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            status = manager.status
            if status.last_error or status.state.name == "VALID":
                break
            time.sleep(0.01)
        assert (status.last_error is None) is {allowed}, status
"""


@needs("pytest_socket")
@pytest.mark.parametrize("allowed", [True, False])
def test_pytest_socket_is_obeyed(allowed: bool, tmp_path: Path) -> None:
    with service("http") as server:
        inner = write(tmp_path, "test_inner.py", INNER.format(url=server.url, allowed=allowed))
        hosts = "127.0.0.1" if allowed else "127.0.0.2"
        root = Path(__file__).parent.parent
        options = ["-p", "no:cacheprovider", "-o", f"pythonpath={root}", f"--rootdir={tmp_path}"]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, f"--allow-hosts={hosts}", str(inner)],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert bool(server.requests) is allowed


# A pseudo-terminal's program sees what a hook at the fork would print.
SPAWN = """
import pexpect
spawned = pexpect.spawn(sys.executable, ["-c", "print('from the program')"], encoding="utf-8", timeout=30)
spawned.expect(pexpect.EOF)
print([line for line in spawned.before.splitlines() if line], flush=True)
"""


@needs("pexpect")
def test_a_program_that_pexpect_starts_prints_nothing_of_ours(tmp_path: Path) -> None:
    with service("http") as server:
        lines = follow(server.url, tls.write_authority(tmp_path), body=SPAWN)
    assert lines == ["added", "complete", "['from the program']", "closed at once"]
