"""A callback of the user's is waited for, up to the timeout; one that never returns is left to itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from closing.run import MakeRun, Run, Serve
from closing.states import idle
from support.peer import WAITING, flood
from support.recorder import Acting, Holding
from support.waiting import wait_until

from autoconfig import StreamState
from autoconfig.stream.cancel import CancelToken

SHORT = 0.3  # seconds that close() is told to wait
SLOW = 0.02  # seconds in a callback


@pytest.fixture
def stuck() -> Iterator[Holding]:
    handler = Holding()
    yield handler
    handler.released.set()


def release(run: Run, stuck: Holding) -> None:
    """Let the callback return and wait for the end of the threads."""
    stuck.released.set()
    for thread in run.started:
        thread.join(WAITING)
    assert run.threads == []


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("full", [False, True], ids=["idle", "queue full"])
def test_stuck_for_ever(full: bool, scheme: str, stuck: Holding, serve: Serve, make_run: MakeRun) -> None:
    """Each close() waits its time and says once what it waits for; nothing comes after the callback."""
    peer = serve(flood if full else idle, tls=scheme == "https")
    run = make_run(peer.url, stuck).start()
    assert stuck.inside.wait(WAITING)
    if full:
        peer.wait_until_stalled()
    else:
        peer.wait_until_reached()
    try:
        for count in (1, 2):
            assert run.close(SHORT) is False
            assert run.seconds[-1] >= SHORT
            line = run.log.wait_for_given_up(count)
            assert "autoconfig-dispatcher" in line
            assert "received_all_environments" in line
        assert [name.rpartition("-")[0] for name in run.threads] == ["autoconfig-dispatcher"]
        assert all(thread.daemon for thread in run.started)
        assert run.manager.join(timeout=0) is True
        peer.wait_until_left()
    finally:
        release(run, stuck)
    assert len(run.recorder.calls) == 1
    assert run.close() is True
    assert len(run.log.given_up) == 2


def test_released_while_close_waits(stuck: Holding, serve: Serve, make_run: MakeRun) -> None:
    """A callback that ends in time is waited for, and no longer than it takes."""
    peer = serve(flood)
    run = make_run(peer.url, stuck).start()
    assert stuck.inside.wait(WAITING)
    peer.wait_until_stalled()

    def release_later() -> None:
        wait_until(lambda: run.manager.status.state is StreamState.OFF, "close() waits")
        threading.Event().wait(SHORT)
        stuck.released.set()

    releaser = threading.Thread(target=release_later)
    releaser.start()
    assert run.close(WAITING) is True
    releaser.join()
    run.check(peer)
    assert len(run.recorder.calls) == 1


def test_close_inside_the_stuck_callback(stuck: Holding, serve: Serve, make_run: MakeRun) -> None:
    """The callback that closes does not wait for itself, and another thread's close() waits for it."""
    peer = serve(flood)
    run = make_run(peer.url, stuck)
    ended: list[bool] = []
    wait = stuck.act

    def close_and_wait(*call: Any) -> None:
        ended.append(run.close())
        wait(*call)

    stuck.act = close_and_wait
    run.start()
    assert stuck.inside.wait(WAITING)
    assert ended == [True]
    assert run.close(SHORT) is False
    release(run, stuck)
    run.recorder.wait_for_calls(1)
    assert len(run.recorder.calls) == 1


def slowly(*_: object) -> None:
    threading.Event().wait(SLOW)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_slow_handler_and_a_full_queue(scheme: str, serve: Serve, make_run: MakeRun) -> None:
    """Only the running callback is waited for, not what is in the queue."""
    peer = serve(flood, tls=scheme == "https")
    run = make_run(peer.url, Acting(slowly)).start()
    peer.wait_until_stalled()
    assert run.close() is True
    run.check(peer)


def test_no_time_to_wait(stuck: Holding, serve: Serve, make_run: MakeRun) -> None:
    """With a timeout of zero it does not wait, but stops everything all the same."""
    peer = serve(flood)
    run = make_run(peer.url, stuck).start()
    assert stuck.inside.wait(WAITING)
    peer.wait_until_stalled()
    try:
        assert run.close(0) is False
        peer.wait_until_left()
        run.log.wait_for("received_all_environments")
    finally:
        release(run, stuck)
    assert len(run.recorder.calls) == 1


def assert_no_callback_begins(run: Run) -> None:
    """Close without waiting: what runs may end, and has been named, but nothing else begins."""
    run.close(0)
    calls = len(run.recorder.calls)
    for thread in run.started:
        thread.join(WAITING)
    assert run.threads == []
    # The recorder may have been entered before close() returned, and have recorded the call only then.
    if more := len(run.recorder.calls) - calls:
        assert more == 1
        run.log.wait_for("received_all_environments")


def test_no_callback_begins_after_no_time_to_wait(serve: Serve, make_run: MakeRun) -> None:
    """It makes no difference that close() did not wait."""
    peer = serve(flood)
    for round in range(50):
        run = make_run(peer.url).start()
        run.recorder.wait_for_calls(1 + round % 10)
        assert_no_callback_begins(run)


def test_no_callback_begins_in_the_last_moment(
    serve: Serve, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher is preempted between its look at the token and the call."""
    looked, go_on = threading.Event(), threading.Event()

    def look(token: CancelToken) -> bool:
        cancelled: bool = vars(token)["cancelled"]
        if not cancelled and threading.current_thread().name.startswith("autoconfig-dispatcher"):
            looked.set()
            go_on.wait(SHORT)  # close() may wait for the dispatcher to get out of this, but for nothing else
        return cancelled

    def keep(token: CancelToken, cancelled: bool) -> None:
        vars(token)["cancelled"] = cancelled

    run = make_run(serve(flood).url)
    monkeypatch.setattr(CancelToken, "cancelled", property(look, keep), raising=False)
    run.start()
    assert looked.wait(WAITING)
    with ThreadPoolExecutor(1) as pool:
        checked = pool.submit(assert_no_callback_begins, run)
        wait_until(lambda: bool(run.seconds), "close() has returned")
        go_on.set()
        checked.result()


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("inf"), 1e12])
def test_a_timeout_out_of_range(timeout: float, make_run: MakeRun) -> None:
    run = make_run("http://127.0.0.1:9")
    with pytest.raises(ValueError, match="timeout"):
        run.manager.close(timeout)


@pytest.mark.parametrize("timeout", ["5", None, True, [1], b"5"])
def test_a_timeout_of_the_wrong_type(timeout: object, make_run: MakeRun) -> None:
    run = make_run("http://127.0.0.1:9")
    with pytest.raises(TypeError, match="timeout"):
        run.manager.close(timeout)  # type: ignore[arg-type]
