"""A program that follows a stream among packages that change Python's network under it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.samples import environment_json

FOLLOW = """
import logging, sys, time
{before}
from autoconfig import HTTPConfig, StreamManager, stream_threads
{after}

class Handler:
    def add_environment(self, params): print("added", flush=True)
    def update_environment(self, params): print("updated", flush=True); updated.append(params)
    def delete_environment(self, id): print("deleted", flush=True)
    def add_filter(self, params): pass
    def delete_filter(self, id): pass
    def received_all_environments(self): print("complete", flush=True); complete.append(True)

def until(found):
    deadline = time.monotonic() + 60
    while not found and time.monotonic() < deadline:
        time.sleep(0.01)

complete, updated = [], []
stream_threads._GRACE = stream_threads.LEAST_GRACE = 9  # seconds: a busy machine may hold up a thread that ends
logging.basicConfig(level=logging.{level})
config = HTTPConfig(ca_certs=sys.argv[2])
manager = StreamManager("rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a", sys.argv[1], Handler(), config)
manager.start()
until(complete)
{body}
begun = time.monotonic()
print("closed" if manager.close() else "left", "at once" if time.monotonic() - begun < 10 else "late", flush=True)
"""


def put() -> bytes:
    """Return a put of one environment."""
    data = {"path": "/", "data": {"environments": {"e1": environment_json("e1", 1)}}}
    return f"event: put\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def patch() -> bytes:
    """Return a patch of that environment."""
    data = {"path": "/environments/e1", "data": environment_json("e1", 2)}
    return f"event: patch\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def follow(
    url: str, ca_certs: str, *, before: str = "", after: str = "", body: str = "", level: str = "WARNING"
) -> list[str]:
    """Run the program against a stream; return what it printed. Whatever it logs from this level on is a failure."""
    program = FOLLOW.format(before=before, after=after, body=body, level=level)
    done = subprocess.run(
        [sys.executable, "-c", program, url, ca_certs], capture_output=True, text=True, timeout=180, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip where a package is not installed; the tox environments ``neighbours`` install some each."""
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def write(folder: Path, name: str, text: str) -> Path:
    """Write a file; return its path."""
    path = folder / name
    path.write_text(text)
    return path
