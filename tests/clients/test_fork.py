"""A fork: the parent's clients work on; the child is told that they are not its own, and nothing hangs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import pytest
from support.children import end_of
from support.waiting import wait_until

pytest.importorskip("ldclient")

from clients.conftest import MakePool
from clients.pools import params, value, working

from autoconfig import ForkedError
from autoconfig.clients import ClientPool
from autoconfig.testing.flags import FlagService

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork"),
    # Python 3.12 warns of a fork while there are threads, which is what these tests are about.
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def in_child(check: Callable[[], bool]) -> bool:
    """Return what the check returns in a forked child, which ends by itself."""
    child = os.fork()
    if not child:
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return end_of(child) == 0


def raises_forked_error(call: Callable[[], object]) -> bool:
    try:
        call()
    except ForkedError:
        return True
    return False


def use_borrowed(pool: ClientPool) -> None:
    with pool.borrow("1"):
        pass


def test_the_child_is_told_and_close_returns_at_once(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    working(pool, "1")

    def check() -> bool:
        calls: list[Callable[[], object]] = [
            lambda: pool.get("1"),
            lambda: pool.get("1", timeout=1),
            lambda: pool.get("unknown"),
            lambda: use_borrowed(pool),
            lambda: pool.status(),
            lambda: pool.wait_until_ready(1),
            lambda: pool.add_environment(params("2", "a")),
            lambda: pool.delete_environment("1"),
        ]
        began = time.monotonic()
        closed = pool.close()
        return closed and all(map(raises_forked_error, calls)) and time.monotonic() - began < 10

    assert in_child(check)
    assert value(pool.get("1")) == "blue"
    assert pool.close()


def test_a_fork_while_another_thread_holds_the_lock_hangs_nothing(make_pool: MakePool) -> None:
    pool = make_pool()
    pool.add_environment(params("1", "a"))
    working(pool, "1")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with pool._changed:
            held.set()
            done.wait(20)

    borrowing = pool.borrow("1")
    borrowing.__enter__()
    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(30)

    def check() -> bool:
        borrowing.__exit__(None, None, None)  # as at the end of a block in whose middle the fork was
        return pool.close() and raises_forked_error(lambda: pool.get("1")) and raises_forked_error(pool.status)

    try:
        assert in_child(check)
    finally:
        done.set()
        holding.join()
    borrowing.__exit__(None, None, None)


def test_a_pool_made_before_the_fork_works_in_the_child(make_pool: MakePool, flags: FlagService) -> None:
    pool = make_pool()

    def check() -> bool:
        pool.add_environment(params("1", "a"))
        return value(working(pool, "1")) == "blue" and pool.close()

    assert in_child(check)
    pool.add_environment(params("1", "a"))
    wait_until(lambda: value(pool.get("1")) == "blue")
