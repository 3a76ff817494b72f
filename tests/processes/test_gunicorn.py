"""The real gunicorn with ``--preload``: what goes wrong is said, does not hang, and can be done right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from processes.control import KEY, WAITING
from processes.gunicorn_server import WORKERS, Gunicorn
from processes.states import ENVIRONMENTS
from support.samples import environment

from autoconfig.testing import Emulator

NAMES = sorted(one.env_name for one in ENVIRONMENTS)
HOOK = ["-c", "python:processes.hooks"]

Serve = Callable[..., Gunicorn]
"""Starts a gunicorn: ``serve(application, *options)``."""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(ENVIRONMENTS, key=KEY) as emulator:
        yield emulator


@pytest.fixture(params=[["-k", "sync"], ["-k", "gthread", "--threads", "2"]], ids=["sync", "gthread"])
def serve(request: pytest.FixtureRequest, closing: ExitStack, emulator: Emulator, tmp_path: Path) -> Serve:
    def start(application: str, *options: str) -> Gunicorn:
        server = Gunicorn(tmp_path, emulator.uri, application, *request.param, *options)
        closing.callback(server.close)
        server.wait_for_workers()
        return server

    return start


def test_a_manager_that_the_import_has_started(serve: Serve, emulator: Emulator) -> None:
    """It runs in the master: each worker says so once, and answers all the same."""
    server = serve("wrong")
    workers = server.workers
    assert [server.warnings(pid) for pid in workers] == [[]] * len(workers)
    for _ in range(2):
        server.wait_for_answers(raised="ForkedError", closed=True, state="OFF")
        assert server.get()["took"] < 10
    assert emulator.connections == len(emulator.requests) == 1
    for pid in workers:
        server.wait_for_warning(pid)
        (text,) = server.warnings(pid)
        assert "make and start another one in this process" in text
    assert server.warnings(server.process.pid) == []
    assert server.stop() == 0
    assert "Traceback" not in server.log
    emulator.wait_for_connections(0)


@pytest.mark.parametrize("options", [HOOK, []], ids=["post_fork", "lazily"])
def test_a_manager_in_each_worker(options: list[str], serve: Serve, emulator: Emulator) -> None:
    """It follows changes, in the workers that come with a reload too, and none is left of those before."""
    server = serve("right", *options)
    server.wait_for_answers(names=NAMES)
    assert emulator.connections == WORKERS
    changed = emulator.set_environment(environment(ENVIRONMENTS[0].env_id, 2))
    now = sorted([changed.env_name, *NAMES[1:]])
    server.wait_for_answers(names=now)
    server.reload()
    server.wait_for_answers(names=now)
    emulator.wait_for_connections(WORKERS, WAITING)
    assert server.stop() == 0
    assert " WARNING autoconfig " not in server.log
    assert "Traceback" not in server.log
    emulator.wait_for_connections(0)
