"""``close()`` may be called from anywhere: any thread, several at once, and from inside every callback."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from closing.run import NEVER, MakeRun, Run, Serve
from closing.states import WAITS, idle, refusing, silent_after_the_request
from support.peer import HEAD, PUT, WAITING, Line, Script, accepted_and_silent, event, flood
from support.recorder import Acting

from autoconfig import KeyRejectedError

ENVIRONMENT = {"envID": "a", "version": 1}
STORY = [
    event("put", "/", data={"environments": {"a": ENVIRONMENT}, "filters": {"f": {"version": 1}}}),
    event("patch", "/environments/a", data={**ENVIRONMENT, "version": 2}),
    event("delete", "/filters/f", version=2),
    event("delete", "/environments/a", version=3),
]
CALLBACKS = [
    "add_environment",
    "add_filter",
    "received_all_environments",
    "update_environment",
    "delete_filter",
    "delete_environment",
]
"""All six, in the order in which the story leads to them."""


def tell_the_story(line: Line) -> None:
    """Send what leads to all callbacks, and then events without end."""
    line.request()
    line.send(HEAD + b"".join(STORY))
    line.flood(PUT * 10)


STATES = {
    "handshake": (accepted_and_silent, True),
    "headers": (silent_after_the_request, False),
    "back-off": (refusing, False),
    "idle": (idle, False),
    "flood": (flood, True),
}


@pytest.fixture(params=[pytest.param(state, id=name) for name, state in STATES.items()])
def run_in_a_state(request: pytest.FixtureRequest, serve: Serve, make_run: MakeRun) -> Run:
    script, tls = request.param
    peer = serve(script, tls=tls)
    run = make_run(peer.url, initial_retry_delay=NEVER).start()
    peer.wait_until_reached()
    if script is refusing:
        run.log.wait_for(WAITS)
    return run


def test_the_story_has_all_callbacks(serve: Serve, make_run: MakeRun) -> None:
    """Else the tests of the callbacks would test less than they say."""
    run = make_run(serve(tell_the_story).url).start()
    run.recorder.wait_for_calls(len(CALLBACKS))
    assert run.recorder.names[: len(CALLBACKS)] == CALLBACKS


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("callback", CALLBACKS)
def test_inside_a_callback(callback: str, scheme: str, serve: Serve, make_run: MakeRun) -> None:
    """It returns, the callback goes on, and it is the last one."""
    ended: list[bool] = []
    went_on = threading.Event()

    def close(name: str, _: object) -> None:
        if name == callback:
            ended.append(run.close())
            went_on.set()

    peer = serve(tell_the_story, tls=scheme == "https")
    run = make_run(peer.url, Acting(close))
    run.start()
    assert went_on.wait(WAITING), run.seconds
    assert ended == [True]
    assert run.manager.close() is True
    run.check(peer)
    assert run.recorder.names == CALLBACKS[: CALLBACKS.index(callback) + 1]


def test_inside_a_callback_and_outside_at_once(serve: Serve, make_run: MakeRun) -> None:
    """Neither waits for the other for ever."""
    inside = threading.Event()
    ended: list[bool] = []

    def close(*_: object) -> None:
        inside.set()
        ended.append(run.close())

    peer = serve(flood)
    run = make_run(peer.url, Acting(close))
    run.start()
    assert inside.wait(WAITING)
    ended.append(run.close())
    assert ended == [True, True]
    run.check(peer)
    assert len(run.recorder.calls) == 1


def test_from_another_thread(run_in_a_state: Run) -> None:
    """The thread that closes need not be the one that started."""
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run_in_a_state.close).result() is True
    run_in_a_state.check()


@pytest.mark.parametrize("number", [2, 8])
def test_several_threads_at_once(number: int, run_in_a_state: Run) -> None:
    """Each gets the same answer, and none waits longer than one alone."""
    together = threading.Barrier(number)

    def close() -> bool:
        together.wait(WAITING)
        return run_in_a_state.close()

    with ThreadPoolExecutor(number) as pool:
        ended = [future.result() for future in [pool.submit(close) for _ in range(number)]]
    assert ended == [True] * number
    run_in_a_state.check()


def answer(status: bytes, allowed: threading.Event) -> Script:
    def script(line: Line) -> None:
        line.request()
        line.reached()
        allowed.wait(WAITING)
        line.send(HEAD.replace(b"200 OK", status) + PUT)
        line.flood(PUT * 10)

    return script


@pytest.mark.parametrize(("status", "error"), [(b"200 OK", None), (b"401 No", KeyRejectedError)])
def test_inside_a_done_callback_of_the_reader(
    status: bytes, error: type[Exception] | None, serve: Serve, make_run: MakeRun
) -> None:
    """The future is settled by the reader's thread, which then closes, and does not wait for itself."""
    allowed = threading.Event()
    ended: Future[tuple[str, bool]] = Future()
    peer = serve(answer(status, allowed))
    run = make_run(peer.url).start()
    assert run.settled
    run.settled.add_done_callback(lambda _: ended.set_result((threading.current_thread().name, run.close())))
    allowed.set()
    name, outcome = ended.result(WAITING)
    assert name.startswith("autoconfig-reader")
    assert outcome is True
    assert run.manager.close() is True
    run.check(peer)
    assert isinstance(run.settled.exception(), error or type(None))


def test_inside_a_done_callback_of_close(serve: Serve, make_run: MakeRun) -> None:
    """A close() settles the future, and what waits for that closes too, in the same thread."""
    peer = serve(silent_after_the_request)
    run = make_run(peer.url).start()
    ended: list[bool] = []
    assert run.settled
    run.settled.add_done_callback(lambda _: ended.append(run.close()))
    peer.wait_until_reached()
    assert run.close() is True
    assert ended == [True]
    run.check(peer)


def test_inside_a_done_callback_that_comes_late(serve: Serve, make_run: MakeRun) -> None:
    """The future is done already, so the callback is called at once, in this thread."""
    peer = serve(flood)
    run = make_run(peer.url).start()
    assert run.settled
    run.settled.result(WAITING)
    ended: list[bool] = []
    run.settled.add_done_callback(lambda _: ended.append(run.close()))
    assert ended == [True]
    run.check(peer)


@pytest.mark.parametrize("leave", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_with_block_left_by_an_exception(leave: type[BaseException], serve: Serve, make_run: MakeRun) -> None:
    """The exception goes on its way, and all has ended."""
    peer = serve(flood)
    run = make_run(peer.url)

    def use() -> None:
        with run.manager:
            run.recorder.wait_for_calls(10)
            raise leave

    with pytest.raises(leave):
        use()
    run.check(peer)
