"""What a stream keeps in memory while it waits: a bounded queue, and nothing of what is over."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import requests
from support.managing import managed
from support.recorder import Failing, Recorder
from support.samples import environment_json, put_item
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

from autoconfig import HTTPConfig, MessageHandler, StreamManager, StreamState

ENVIRONMENTS = 5_000
PATCHES = 8_000  # some four megabytes: more than fifty reads


class Forgetting(MessageHandler):
    """Takes every call and keeps nothing."""


def event(name: str, **data: Any) -> dict[str, str]:
    return {"event": name, "data": json.dumps(data, separators=(",", ":"))}


def test_a_large_put_is_not_kept_until_the_next_event() -> None:
    """Neither thread has a name for it while it waits."""
    environments = {f"e{number}": environment_json(f"e{number}", 1) for number in range(ENVIRONMENTS)}
    connection = [event("put", path="/", data={"environments": environments})]
    tracemalloc.start()
    try:
        with ScriptedServer([connection]) as server, managed(server.url, Forgetting()) as manager:
            del connection, environments
            manager.start()
            manager.wait_until_ready(30)
            wait_until(lambda: manager.status.queued_batches == 0)
            gc.collect()
            kept = sum(
                trace.size for trace in tracemalloc.take_snapshot().traces if "decoding.py" in str(trace.traceback)
            )
    finally:
        tracemalloc.stop()
    assert kept < ENVIRONMENTS * 120  # the ids, which the version table has


def test_a_slow_handler_does_not_fill_the_memory() -> None:
    """The queue has eight places; then the reader waits, and the service waits."""
    released = threading.Event()

    def work(*_: object) -> None:
        released.wait(30)

    handler = Failing(work)
    patches = [
        event("patch", path=f"/environments/e{number}", data=environment_json(f"e{number}", 1))
        for number in range(PATCHES)
    ]
    with ScriptedServer([patches]) as server, managed(server.url, handler) as manager:
        manager.start()
        try:
            wait_until(lambda: manager.status.queued_batches >= 8)
            with pytest.raises(AssertionError):
                wait_until(lambda: manager.status.queued_batches > 10, timeout=0.5)
        finally:
            released.set()


def test_a_failed_attempt_is_not_kept_during_the_delay() -> None:
    """A traceback would keep the session, and with it the answer."""
    sessions: list[weakref.ref[requests.Session]] = []

    def make() -> requests.Session:
        session = requests.Session()
        sessions.append(weakref.ref(session))
        return session

    with ScriptedServer([[{"status": 503}]]) as server:
        config = HTTPConfig(session_factory=make)
        with managed(server.url, Recorder(), http_config=config, initial_retry_delay=60.0) as manager:
            manager.start()
            wait_until(lambda: manager.status.next_retry_at is not None)
            wait_until(lambda: [session() for session in sessions] == [None])
            assert manager.status.state is StreamState.INITIALIZING


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps], ids=lambda one: one.__name__)
def test_there_are_no_copies_of_a_manager(duplicate: Callable[[StreamManager], object]) -> None:
    """A copy that was dropped would end the stream of the original."""
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, Forgetting()) as manager:
        manager.start()
        manager.wait_until_ready(30)
        with pytest.raises(TypeError, match=r"^a StreamManager cannot be copied or pickled; make one in each process$"):
            duplicate(manager)
        gc.collect()
        assert manager.status.state is StreamState.VALID
