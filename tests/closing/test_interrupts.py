"""Ctrl-C, and log handlers that hang: ``close()`` leaves the stream off, and swallows nothing that is not its own."""

from __future__ import annotations

import itertools
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from closing.run import PROMPT, MakeRun, Run, Serve
from closing.states import idle
from support.peer import WAITING, flood
from support.recorder import Holding
from support.threads import forget_handled_exception
from support.waiting import wait_until

import autoconfig
from autoconfig import StreamManager, StreamState

SOON = 0.2  # seconds
PACKAGE = Path(autoconfig.__file__).parent


class Interrupt:
    """
    A trace function that raises KeyboardInterrupt at one line of the library in this thread.

    Args:
        line: Which one, in the order in which they are executed, from 1.
        manager: Whose ``close()`` has to have looked at its arguments before.
    """

    def __init__(self, line: int, manager: StreamManager) -> None:
        self.left = line
        self._manager = manager

    def __call__(self, frame: FrameType, event: str, _: Any) -> Interrupt | None:
        path = Path(frame.f_code.co_filename)
        if path.parent != PACKAGE:  # not in stream/ either: what is left of sockets there, the collector closes
            return None
        if event == "line" and self._manager._closed:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("script", [idle, flood])
def test_ctrl_c_at_every_line_of_close(script: Callable[[Any], None], serve: Serve, make_run: MakeRun) -> None:
    """It is raised, the threads end, and those who wait in ``join()`` do not hang."""
    peer = serve(script)
    with ThreadPoolExecutor(1) as pool:
        for line in itertools.count(1):
            run = make_run(peer.url).start()
            run.recorder.wait_for_calls(1)
            joining = pool.submit(run.manager.join, WAITING)
            interrupt, raised = Interrupt(line, run.manager), False
            before = sys.gettrace()
            sys.settrace(interrupt)
            try:
                run.manager.close()
            except KeyboardInterrupt:
                raised = True
            finally:
                sys.settrace(before)
            forget_handled_exception()
            for thread in run.started:
                thread.join(WAITING)
            assert run.threads == [], line
            assert joining.result(WAITING) is True, line
            assert run.manager.status.state is StreamState.OFF, line
            assert run.settled
            assert run.settled.done()
            assert raised is (interrupt.left <= 0), line
            if not raised:
                break
    assert line > 40


def test_ctrl_c_while_close_waits_for_a_callback(serve: Serve, make_run: MakeRun) -> None:
    """A real signal; the state is there at once, and another ``join()`` is not held up longer than the callback."""
    handler = Holding()
    main = threading.get_ident()

    def interrupt_later() -> None:
        wait_until(lambda: run.manager.status.state is StreamState.OFF, "close() waits")
        threading.Event().wait(SOON)
        signal.pthread_kill(main, signal.SIGALRM)

    run = make_run(serve(flood).url, handler).start()
    assert handler.inside.wait(WAITING)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupting = threading.Thread(target=interrupt_later)
    interrupting.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run.manager.close(WAITING)
    finally:
        interrupting.join()
        signal.signal(signal.SIGALRM, before)
    assert run.manager.status.state is StreamState.OFF
    assert run.manager.join(0) is False
    handler.released.set()
    assert run.manager.join(WAITING) is True
    assert run.close() is True


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("leave", ["listener", "future"])
def test_ctrl_c_in_a_function_that_close_calls(leave: str, serve: Serve, make_run: MakeRun) -> None:
    """It comes out of ``close()``, and everything has been stopped."""
    peer = serve(idle if leave == "listener" else lambda line: line.request())
    run = make_run(peer.url).start()
    if leave == "listener":
        run.recorder.wait_for_calls(1)
        run.manager.add_status_listener(interrupt)
    else:
        assert run.settled
        run.settled.add_done_callback(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run.manager.close()
    assert run.manager.status.state is StreamState.OFF
    assert run.manager.join(WAITING) is True
    assert run.close() is True
    run.check()


class Hanging(logging.Handler):
    """Hangs in the first line that has a text in it, with its lock held, as a full pipe would make it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.inside, self.released = threading.Event(), threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.inside.set()
            self.released.wait()


@pytest.fixture
def hanging(request: pytest.FixtureRequest) -> Iterator[Hanging]:
    handler = Hanging(request.param)
    yield handler
    handler.released.set()


def end(run: Run, hanging: Hanging) -> None:
    hanging.released.set()
    for thread in [*run.started, *[one for one in threading.enumerate() if one.name == "autoconfig-log"]]:
        thread.join(WAITING)
    assert run.threads == []


@pytest.mark.usefixtures("real_limits")
@pytest.mark.parametrize("hanging", ["Received all", "Connected"], indirect=True)
def test_a_thread_of_the_stream_hangs_in_a_log_handler(hanging: Hanging, serve: Serve, make_run: MakeRun) -> None:
    """The dispatcher or the reader; the line that says so goes through the same handler."""
    run = make_run(serve(idle).url)
    run.log.logger.setLevel(logging.INFO)
    run.log.logger.handlers.insert(0, hanging)
    run.start()
    assert hanging.inside.wait(WAITING)
    assert run.close() is False
    assert run.manager.status.state is StreamState.OFF
    assert run.manager.join(0) is True
    end(run, hanging)
    assert run.log.wait_for_given_up(1).endswith("; it is still in a log handler")


@pytest.mark.usefixtures("real_limits")
@pytest.mark.parametrize("hanging", ["Gave up", "A status listener failed"], indirect=True)
def test_close_does_not_wait_for_its_own_lines(hanging: Hanging, serve: Serve, make_run: MakeRun) -> None:
    """Those on a callback that does not end, and on a listener that raises."""
    handler = Holding()

    run = make_run(serve(idle).url, handler)
    run.log.logger.handlers.insert(0, hanging)
    run.start()
    assert handler.inside.wait(WAITING)
    run.manager.add_status_listener(lambda _: 1 // 0)
    begun = time.monotonic()
    assert run.close(SOON) is False
    assert time.monotonic() - begun < PROMPT
    handler.released.set()
    end(run, hanging)
