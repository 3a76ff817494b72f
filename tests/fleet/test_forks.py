"""A fork: the parent leads on; the child is told that the leader is not its own, and nothing hangs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fleet.fleets import NAME, STATE, Fleet

DEADLINE = 120  # seconds
TESTS = Path(__file__).parents[1]

PROGRAM = """
import ctypes, logging, os, sys
from autoconfig import ForkedError, StreamManager
from autoconfig.redis import Leader, leader as module
from support.children import end_of
from support.waiting import wait_until

module._GRACE = 30  # seconds: a busy machine may hold up the thread that hands over
url, service, key, name, fork, first = sys.argv[1:]
lines = []
class Listing(logging.Handler):
    def emit(self, record):
        lines.append((record.levelname, record.getMessage()))
logging.getLogger("autoconfig.fleet").addHandler(Listing())
# A child of C code's fork inherits a request for the GIL that nobody takes back, unless none is made.
sys.setswitchinterval(1000)

def follow(handler):
    return StreamManager(key, service, handler)
def raised(call):
    try:
        call()
    except Exception as error:
        return type(error)
leader = Leader(url, name, follow, lease=10)
leader.start()
assert leader.wait_until_leading(30)
wait_until(lambda: leader.status.writes)
pid = os.fork() if fork == "python" else ctypes.PyDLL(None).fork()
if not pid:
    code = 1
    try:
        assert lines == [], lines
        if first == "close":
            assert leader.close() is True and lines == [], lines
        status = leader.status
        assert (status.leading, status.error) == (False, str(ForkedError())), status
        assert raised(leader.start) is raised(leader.wait_until_leading) is ForkedError
        assert leader.close() is True
        wait_until(lambda: lines)
        assert [level for level, _ in lines] == ["WARNING"], lines
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)
assert end_of(pid) == 0
assert leader.status.leading and leader.status.takeovers == 1, leader.status
assert lines == [], lines
assert leader.close()
"""

IN_THE_CHILDREN = """
import os, sys, time
from autoconfig import StreamManager
from autoconfig.redis import Leader

url, service, key, name = sys.argv[1:]
leader = Leader(url, name, lambda handler: StreamManager(key, service, handler), lease=10)
children = []
for _ in range(2):
    if not (pid := os.fork()):
        leader.start()
        os._exit(0 if leader.wait_until_leading(30) and str(os.getpid()) in leader.owner and leader.close() else 1)
    children.append(pid)
assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
"""


def run(program: str, fleet: Fleet, *arguments: str) -> None:
    # Python 3.12 warns of every fork of a process with threads.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, fleet.url, fleet.service.uri]
    command += [fleet.service.key, NAME, *arguments]
    ran = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("first", ["close", "status"])
@pytest.mark.parametrize("fork", ["python", "c"])
def test_the_child_is_told_and_the_parent_leads_on(fleet: Fleet, fork: str, first: str) -> None:
    run(PROGRAM, fleet, fork, first)
    assert fleet.client.hget(STATE, "#owner") == b""


def test_one_made_before_the_fork_is_started_after_it(fleet: Fleet) -> None:
    run(IN_THE_CHILDREN, fleet)
