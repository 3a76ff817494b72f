"""
The command ``autoconfig``: its exit codes and its signals.

This module imports next to nothing, so that ``--help`` is quick and Ctrl-C is handled from the first moment.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import FrameType

from ..waiting import SignalSafeCondition

OK = 0
FAILURE = 1
USAGE = 2
KEY_REJECTED = 3
NOT_READY = 4
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    if missing := " and ".join(name for name in ("click", "rich") if find_spec(name) is None):
        if sys.stderr is not None:
            print(f"autoconfig: error: the command: needs {missing}", file=sys.stderr)
            print("  try: pip install 'ld-autoconfig[cli]'", file=sys.stderr)
        return USAGE
    commands = import_module(".commands", __package__)
    return int(commands.run(sys.argv[1:] if argv is None else argv))


@contextmanager
def interruptible() -> Iterator[None]:
    """
    Raise ``KeyboardInterrupt`` on Ctrl-C and ``SystemExit(143)`` on SIGTERM in the block, for it to clean up.

    Outside of the block the program ends at once: nothing is open, and an exception could come in the middle of an
    import, or be swallowed there.
    """
    seen: list[int] = []
    changed = SignalSafeCondition()

    def interrupt(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        changed.notify_all()
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    before = {}
    try:
        with suppress(ValueError):  # outside of the main thread, where there are no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, interrupt)
        was_seen = partial(changed.wait_for, lambda: bool(seen))
        with _insisting(was_seen) if before and hasattr(signal, "pthread_kill") else nullcontext():
            yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _insisting(was_seen: Callable[[float], bool]) -> Iterator[None]:
    """
    Interrupt the main thread's system calls from when a signal comes until its handler was called.

    Python calls the handler of a signal between two bytecodes. If the signal comes right before a system call, or if
    another thread gets it, that call is not interrupted, and a read may take a minute.

    Args:
        was_seen: Waits at most so many seconds for the handler, and returns whether it was called.
    """
    main_thread = threading.get_ident()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # as set_wakeup_fd() demands

    def insist() -> None:
        if os.read(reader, 1):  # nothing if the block has ended
            while not was_seen(0.05):
                signal.pthread_kill(main_thread, signal.SIGURG)

    thread = threading.Thread(target=insist, name="autoconfig-signals", daemon=True)
    handler = signal.signal(signal.SIGURG, lambda number, frame: None)  # it only interrupts
    descriptor = signal.set_wakeup_fd(writer)
    thread.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        os.close(writer)
        thread.join()
        os.close(reader)
        signal.signal(signal.SIGURG, handler)
