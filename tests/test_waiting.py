"""Waiting for another thread: nobody is forgotten, whatever a signal handler or Ctrl-C does in the middle."""

from __future__ import annotations

import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytest
from support.threads import AT_ONCE, LONG, at_once, background, forget_handled_exception, handled, wait_until_asleep

from autoconfig import waiting
from autoconfig.waiting import SignalSafeCondition

SHORT = 0.02


class Flag:
    """A flag that is set once and can be waited for: the simplest use of the condition."""

    def __init__(self) -> None:
        self.is_set = False
        self._changed = SignalSafeCondition()

    def set(self) -> None:
        self.is_set = True
        self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        return self._changed.wait_for(lambda: self.is_set, timeout)


def test_it_is_not_set_at_first() -> None:
    """Waiting for it takes as long as it may, and not longer."""
    flag = Flag()
    started = time.monotonic()
    assert not flag.is_set
    assert flag.wait(SHORT) is flag.wait(0) is False
    assert SHORT * 0.9 <= time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize("times", [1, 2, 5])
def test_it_may_be_set_again(times: int) -> None:
    """Afterwards every wait is over at once, however often one waits."""
    flag = Flag()
    for _ in range(times):
        flag.set()
    with at_once():
        assert flag.is_set
        assert [flag.wait(timeout) for timeout in (None, 0, LONG, None, LONG)] == [True] * 5


def test_a_wait_that_timed_out_does_not_spoil_it() -> None:
    """Nor does one that comes in between."""
    flag = Flag()
    flag.wait(0)
    flag.set()
    assert flag.wait(0)
    flag.set()
    assert flag.wait(0)


@pytest.mark.parametrize("timeout", [None, LONG])
def test_all_who_wait_are_woken(timeout: float | None) -> None:
    """By one call, with a timeout or without."""
    flag = Flag()
    with at_once(), background(*[lambda: flag.wait(timeout)] * 30) as results:
        flag.set()
    assert results == [True] * 30


def test_setting_it_from_many_threads_wakes_all() -> None:
    """However the calls fall together."""
    for _ in range(50):
        flag = Flag()
        with background(*[flag.set] * 3, *[lambda flag=flag: flag.wait(LONG)] * 3) as results:
            pass
        assert sorted(map(bool, results)) == [False] * 3 + [True] * 3
        assert flag.wait(0)


@pytest.mark.parametrize("timeout", [None, LONG])
def test_a_signal_handler_may_set_it_while_the_main_thread_waits(timeout: float | None) -> None:
    """A timer's signal, in the middle of the wait."""
    flag = Flag()
    with handled(signal.SIGALRM, flag.set), at_once():
        signal.setitimer(signal.ITIMER_REAL, SHORT)
        assert flag.wait(timeout)


def test_a_signal_from_another_thread_does_the_same() -> None:
    """Sent to the main thread by number, as ``kill`` would."""
    flag = Flag()
    main = threading.main_thread().ident
    assert main
    kill = background(lambda: signal.pthread_kill(main, signal.SIGUSR1))
    with handled(signal.SIGUSR1, flag.set), at_once(), kill:
        assert flag.wait(LONG)


def test_a_signal_that_interrupts_no_system_call_is_handled_soon() -> None:
    """As one that comes right before such a call; here another thread gets it."""
    flag, waiter = Flag(), threading.get_native_id()

    def send() -> None:
        wait_until_asleep(waiter)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    with handled(signal.SIGUSR1, flag.set), at_once(), background(send):
        assert flag.wait(LONG)


def test_a_signal_that_does_not_set_it_does_not_end_the_wait() -> None:
    """The rest of the time is still waited for."""
    flag = Flag()
    seen: list[None] = []
    with handled(signal.SIGALRM, lambda: seen.append(None)):
        signal.setitimer(signal.ITIMER_REAL, SHORT)
        started = time.monotonic()
        assert not flag.wait(SHORT * 5)
    assert seen
    assert time.monotonic() - started >= SHORT * 4


def test_a_signal_handler_may_set_it_inside_of_set() -> None:
    """An Event would wait for itself sooner or later; here signals fall into thousands of calls."""
    flags = [Flag()]
    with handled(signal.SIGALRM, lambda: flags[-1].set()), at_once():
        signal.setitimer(signal.ITIMER_REAL, 1e-4, 1e-4)
        for _ in range(5000):
            flags.append(Flag())
            flags[-1].set()
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(flag.wait(0) for flag in flags[1:])


class Interrupt:
    """
    A trace function that raises KeyboardInterrupt at one line of the module under test.

    Args:
        line: Which one, in the order in which this thread executes them, from 1.
    """

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, _: Any) -> Interrupt | None:
        if frame.f_code.co_filename != waiting.__file__:
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize("timeout", [None, LONG])
def test_ctrl_c_in_one_thread_that_waits_leaves_the_others_as_they_are(timeout: float | None) -> None:
    """At each line of the wait, that of the release included."""
    for line in range(1, 100):
        flag, interrupt = Flag(), Interrupt(line)
        with at_once(), background(*[lambda flag=flag: flag.wait(LONG)] * 2) as results:
            timer = threading.Timer(SHORT, flag.set)
            timer.start()
            before = sys.gettrace()
            sys.settrace(interrupt)
            try:
                flag.wait(timeout)
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(before)
            forget_handled_exception()
            timer.join()
        assert results == [True, True]
        if interrupt.left > 0:
            break
    assert line > 10


def test_the_condition_is_looked_at_after_each_change() -> None:
    """A change that does not fulfil it ends no wait, and none is missed."""
    condition, seen = SignalSafeCondition(), []
    with at_once(), background(lambda: condition.wait_for(lambda: len(seen) >= 100, LONG)) as results:
        for number in range(100):
            seen.append(number)
            condition.notify_all()
    assert results == [True]
