"""Forks while the reader connects: OpenSSL's clean-up at exit must find no lock that the reader held at the fork."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support import tls
from support.raw_server import RawServer, answer

FORKS = 100
PROGRAM = """
import gc, logging, os, sys, time, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of forks with threads, from Python 3.12 on
logging.disable()
from autoconfig import HTTPConfig, RetryPolicy, StreamManager

class Handler:
    def nothing(self, *arguments):
        pass

    add_environment = update_environment = delete_environment = nothing
    add_filter = delete_filter = received_all_environments = nothing

config = HTTPConfig(ca_certs=sys.argv[2])
policy = RetryPolicy(max_delay=0.001)
manager = StreamManager("rel-00000000", sys.argv[1], Handler(), config, retry_policy=policy)
manager.start()
gc.freeze()  # what was imported is of no interest to the children, whose last collections would look at all of it
number = 0
while number < int(sys.argv[3]) or manager.status.connections <= 10:
    number += 1
    child = os.fork()
    if not child:
        sys.exit(0)
    deadline = time.monotonic() + 60
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            sys.exit(f"child {number} hangs at its exit")
        time.sleep(0.001)
manager.close()
"""


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_child_hangs_at_its_exit(scheme: str, tmp_path: Path) -> None:
    with RawServer([answer(), None], context=tls.server_context() if scheme == "https" else None) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, server.url, tls.write_authority(tmp_path), str(FORKS)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.requests) > 10
