"""A process ends at once, with status 0 and without a word, whatever its manager is doing."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from closing.run import Serve
from closing.states import idle, refusing, silent_after_the_request
from support.peer import WAITING, Script, accepted_and_silent, flood
from support.threads import wait_until_asleep

TESTS = Path(__file__).parent.parent
STATES = [accepted_and_silent, silent_after_the_request, refusing, idle, flood]

START = """
import atexit, logging, signal, sys, threading
url, tests = sys.argv[1:]
sys.path.insert(0, tests)
from support import limits
from support.recorder import Recorder
from autoconfig import StreamManager
logging.getLogger("autoconfig").addHandler(logging.NullHandler())
limits.unhurried()
handler = Recorder()
manager = StreamManager("rel-key", url, handler, initial_retry_delay=60)
ready = manager.start()
"""
ENDS = {
    "atexit": "atexit.register(manager.close); sys.stdin.read()",
    "nothing closed": "sys.stdin.read()",
    "a stuck handler": "handler.received_all_environments = threading.Event().wait\n"
    "atexit.register(manager.close, 0.2); sys.stdin.read()",
}
ON_SIGNAL = """
def close(*_):
    ended = manager.close()
    sys.exit(0 if ended else 3)
signal.signal(signal.SIGTERM, close)
print("ready", flush=True)
"""
WAITS = {
    "for the future": (silent_after_the_request, "ready.result()"),
    "for the end": (idle, "manager.join()"),
    "for input": (flood, "sys.stdin.read()"),
}


@contextmanager
def running(program: str, url: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program, url, str(TESTS)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def assert_ends(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=WAITING)  # also closes its input, for which it may wait
    assert (process.returncode, errors) == (0, "")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("end", list(ENDS))
def test_the_end_of_the_main_thread(end: str, state: Script, serve: Serve) -> None:
    """With close() as an exit handler and without it: daemon threads hold nobody back."""
    peer = serve(state)
    with running(START + ENDS[end], peer.url) as process:
        peer.wait_until_reached()
        assert_ends(process)
    peer.wait_until_left()


@pytest.mark.parametrize("wait", list(WAITS))
def test_sigterm(wait: str, serve: Serve) -> None:
    """The signal's handler closes and exits, whatever the main thread waits for."""
    state, blocking = WAITS[wait]
    peer = serve(state)
    with running(START + ON_SIGNAL + blocking, peer.url) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        peer.wait_until_reached()
        wait_until_asleep(process.pid)  # a signal right before a system call does not interrupt it
        process.send_signal(signal.SIGTERM)
        assert_ends(process)
    peer.wait_until_left()
