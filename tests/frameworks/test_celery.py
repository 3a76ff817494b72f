"""Celery, with each pool that does not replace Python's threads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from frameworks.conftest import WHERE, Serve
from frameworks.recipes import recipe

from autoconfig.testing import Emulator

SAY_STOPPED = """
only_stop = stop


def stop():
    only_stop()
    if manager:
        print("the stream was stopped", flush=True)
"""


@pytest.mark.parametrize(
    ("pool", "signal", "streams"),
    [("prefork", "@worker_process_init", 2), ("solo", "@worker_process_init", 1), ("threads", "@worker_init", 1)],
)
def test_a_stream_in_each_process(
    serve: Serve, site: Path, service: Emulator, pool: str, signal: str, streams: int
) -> None:
    with (site / "following.py").open("a") as following:
        following.write(SAY_STOPPED)
    (site / "tasks.py").write_text(recipe(WHERE, "import following", signal))
    options = ["--pool", pool, "--concurrency", "2", "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    worker = serve(sys.executable, "-m", "celery", "--app", "tasks", "worker", *options)
    worker.program.line(" ready.")
    service.wait_for_connections(streams, 30)
    worker.stops(streams)
    assert worker.program.output.count("the stream was stopped") == streams
