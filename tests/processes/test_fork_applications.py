"""What an application brings to a fork: its own locks, its own functions, its own way to log."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DEADLINE = 120  # seconds
TESTS = Path(__file__).parents[1]

SETUP = """
import logging, logging.config, logging.handlers, os, queue, sys, threading, time
from autoconfig import MessageHandler, StreamManager
from autoconfig.testing import DEMO_KEY, Emulator
from support.children import end_of

LOG = logging.getLogger("autoconfig")
LOG.addHandler(logging.NullHandler())
held = threading.Lock()

class Handler(MessageHandler):
    pass

def fork(in_child=lambda: None):
    "Fork, and return the child's exit code."
    pid = os.fork()
    if not pid:
        code = 1
        try:
            in_child()
            code = 0
        finally:
            os._exit(code)
    return end_of(pid)

def in_another_thread(hold, until):
    "Have another thread hold a lock until the event; return when it does."
    holding = threading.Event()
    def run():
        with hold:
            holding.set()
            until.wait()
    threading.Thread(target=run, daemon=True).start()
    holding.wait()

release = threading.Event()
service = Emulator()
service.start()
"""

PROGRAMS = {
    "a callback of the future that waits for a lock": """
service.stall()
manager = StreamManager(DEMO_KEY, service.uri, Handler())
called = []
def done(future):
    with held:
        called.append(os.getpid())
manager.start().add_done_callback(done)
in_another_thread(held, release)
def check():
    assert manager.connected.done() and manager.connected.exception() is not None
assert fork(check) == 0
release.set()
manager.close()
assert called == [os.getpid()], called
""",
    "a log handler that waits for a lock": """
class Waiting(logging.Handler):
    def emit(self, record):
        if os.getpid() != parent:
            held.acquire()
parent = os.getpid()
LOG.addHandler(Waiting())
with StreamManager(DEMO_KEY, service.uri, Handler()) as manager:
    manager.connected.result(30)
    in_another_thread(held, release)
    assert fork() == 0
    release.set()
""",
    "a log that goes to a queue": """
lines = queue.Queue()
LOG.addHandler(logging.handlers.QueueHandler(lines))
with StreamManager(DEMO_KEY, service.uri, Handler()) as manager:
    manager.connected.result(30)
    busy = True
    def use():
        while busy:
            with lines.mutex:
                time.sleep(0.0005)
    threading.Thread(target=use, daemon=True).start()
    def check():  # the thread that used the queue's lock is not here to give it back
        assert manager.status.state.name == "OFF"
        assert manager.close()
    for _ in range(20):
        assert fork(check) == 0
    busy = False
""",
    "a log that is being configured": """
class Slow(logging.Handler):
    def flush(self):
        if not flushing.is_set():
            flushing.set()
            time.sleep(0.3)
flushing = threading.Event()
LOG.addHandler(logging.StreamHandler(sys.stdout))
slow = Slow()  # the youngest, hence the first that dictConfig() flushes
with StreamManager(DEMO_KEY, service.uri, Handler()) as manager:
    manager.connected.result(30)
    settings = {"version": 1, "disable_existing_loggers": False}
    configure = threading.Thread(target=logging.config.dictConfig, args=[settings], daemon=True)
    configure.start()
    flushing.wait()
    assert fork() == 0
    configure.join(30)
    assert not configure.is_alive()
""",
    "a registry that watches a key that expires": """
from datetime import datetime, timedelta, timezone
from autoconfig import EnvironmentRegistry
from autoconfig.messages import EnvironmentRep, ExpiringKeyRep, SDKKeyRep
asked = threading.Event()
def clock():  # called with the registry's lock held
    asked.set()
    release.wait()
    return datetime.now(timezone.utc)
def rep(key):
    return EnvironmentRep("id-1", sdk_key=SDKKeyRep("sdk-new", ExpiringKeyRep(key, 1000)))
registry = EnvironmentRegistry()
registry._expiry._clock = clock
expired = queue.Queue()
registry.on_key_expired(lambda told: expired.put(told.key.value))
registry.add_environment(rep("sdk-1").to_params())
asked.wait()
def check():
    assert threading.active_count() == 1
    registry._expiry._clock = lambda: datetime.now(timezone.utc)
    registry.add_environment(rep("sdk-2").to_params())
    assert expired.get(timeout=30) == "sdk-2"
assert fork(check) == 0
release.set()
assert expired.get(timeout=30) == "sdk-1"
""",
    "a fork inside a callback": """
class Forking(MessageHandler):
    def __init__(self):
        self.codes = queue.Queue()
        self.told = []
    def add_environment(self, params):
        self.told.append(os.getpid())
        if len(self.told) == 1:
            pid = os.fork()
            if pid:
                self.codes.put(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        elif os.getpid() != parent:
            os._exit(7)
parent = os.getpid()
from autoconfig.messages import EnvironmentRep
for number in range(3):
    service.set_environment(EnvironmentRep(env_id=f"id-{number}"))
handler = Forking()
with StreamManager(DEMO_KEY, service.uri, handler) as manager:
    assert handler.codes.get(timeout=30) == 0
""",
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_fork_meets(program: str) -> None:
    """Neither process hangs, and the child does nothing that is the parent's."""
    # Python 3.12 warns of every fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", SETUP + program + "\nservice.close()\n"]
    ran = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=DEADLINE)
    assert (ran.returncode, ran.stderr) == (0, "")
