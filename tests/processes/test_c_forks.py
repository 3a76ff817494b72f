"""Forks that run no hook of Python's, and what happens before a fork: nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import autoconfig

DEADLINE = 300  # seconds
TESTS = Path(__file__).parents[1]

SETUP = """
import ctypes, logging, os, sys, threading, time
from autoconfig import ForkedError, MessageHandler, StreamManager, StreamState, stream_threads
from autoconfig.testing import DEMO_KEY, Emulator
from support.children import end_of
from support.waiting import wait_until

stream_threads._GRACE = stream_threads.LEAST_GRACE = 30  # seconds: a busy machine may hold up a thread that ends
lines = []
class Listing(logging.Handler):
    def emit(self, record):
        lines.append((record.levelname, record.getMessage()))
logging.getLogger("autoconfig").addHandler(Listing())
class Handler(MessageHandler):
    pass
"""

# A thread that waits for the GIL asks for it after the switch interval. Without Python's hook, a child inherits that
# request, and hangs as soon as it lets go of the GIL, because nobody is there to take it; so here nobody asks.
USE_AFTER_A_C_FORK = """
sys.setswitchinterval(1000)
service = Emulator()
service.start()
manager = StreamManager(DEMO_KEY, service.uri, Handler())
future = manager.start()
manager.wait_until_ready(30)
def raised(call):
    try:
        call()
    except Exception as error:
        return type(error)
pid = ctypes.PyDLL(None).fork()
if not pid:
    code = 1
    try:
        assert lines == [], lines
        if first == "close":
            assert manager.close() is True and manager.close(0) is True
            assert lines == [], lines
        if first == "wait":
            assert raised(manager.wait_until_ready) is ForkedError
        status = manager.status
        assert (status.state, status.last_error.message) == (StreamState.OFF, str(ForkedError())), status
        calls = [manager.start, manager.join, manager.wait_until_ready, lambda: manager.wait_for(StreamState.VALID),
                 lambda: manager.add_status_listener(print)]
        assert {raised(call) for call in calls} == {ForkedError}
        assert manager.close() is True
        wait_until(lambda: lines)  # nobody waits long for the line, and the machine may be busy
        assert [level for level, _ in lines] == ["WARNING"], lines
        assert "make and start another one in this process" in lines[0][1]
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)
assert end_of(pid) == 0
assert manager.status.state is StreamState.VALID and lines == []
assert manager.close()
service.close()
"""

NOTHING_BEFORE_A_FORK = """
import queue
from logging.handlers import QueueHandler
service = Emulator()
service.start()
log = logging.getLogger("autoconfig")
stuck = queue.Queue()
log.addHandler(QueueHandler(stuck))
log.setLevel(logging.INFO)
manager = StreamManager(DEMO_KEY, service.uri, Handler())
manager.start()
manager.wait_until_ready(30)
lines.clear()
def log_something():
    log.info("a hook of somebody else's")
    helper = threading.Thread(target=log.info, args=["and a thread of it"])
    helper.start()
    helper.join()
os.register_at_fork(before=log_something)
holding, release = threading.Event(), threading.Event()
def hold():
    with stuck.mutex:
        holding.set()
        release.wait()
begun = time.monotonic()
pid = os.fork()
took = time.monotonic() - begun
if not pid:
    os._exit(0 if len(lines) == 2 and threading.active_count() == 1 else 1)
assert end_of(pid) == 0
assert took < 10, took
assert [text for _, text in lines] == ["a hook of somebody else's", "and a thread of it"], lines
assert manager.close()
service.close()
"""

IMPORT_WITHOUT_FORKS = """
import os
del os.register_at_fork, os.fork
import autoconfig
autoconfig.StreamManager
"""


def run(program: str) -> None:
    # Python 3.12 warns of every fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    ran = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("first", ["close", "wait", "status"])
def test_a_fork_that_c_code_makes_is_noticed_at_the_first_use(first: str) -> None:
    """As uWSGI does it: no hook of Python's runs, so the process id is looked at."""
    run(f"{SETUP}\nfirst = {first!r}\n{USE_AFTER_A_C_FORK}")


def test_nothing_happens_before_a_fork_and_nothing_is_logged_by_it() -> None:
    """So the hooks of others may log, and wait for threads that do."""
    run(SETUP + NOTHING_BEFORE_A_FORK)


def test_it_can_be_imported_where_there_are_no_forks() -> None:
    """As on Windows."""
    run(IMPORT_WITHOUT_FORKS)


def test_nobody_takes_a_lock_of_loggings() -> None:
    """Said of the source, because a lock that is taken only sometimes is easily missed by a test."""
    text = (Path(autoconfig.__file__).parent / "forks.py").read_text("utf-8")
    assert "acquire" not in text
    assert "logging._" not in text
    assert "before=" not in text
