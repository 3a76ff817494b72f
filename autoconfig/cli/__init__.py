"""
The command ``autoconfig``: its exit codes and its signals.

This module imports next to nothing, so that ``--help`` is quick and Ctrl-C is handled from the first moment.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import FrameType
from typing import Any

OK = 0
FAILURE = 1
USAGE = 2
KEY_REJECTED = 3
NOT_READY = 4
INTERRUPTED = 130

_REQUIREMENTS = ("click", "rich")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    before = _handle_signals(_exit_at_once)
    try:
        missing = [name for name in _REQUIREMENTS if find_spec(name) is None]
        if missing:
            return _complain_of_missing(missing)
        commands = import_module(".commands", __package__)
        return int(commands.run(sys.argv[1:] if argv is None else argv))
    finally:
        if argv is not None:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` on Ctrl-C and ``SystemExit(143)`` on SIGTERM in the block, for it to clean up."""
    _handle_signals(_raise)
    try:
        yield
    finally:
        _handle_signals(_exit_at_once)


def _complain_of_missing(missing: Sequence[str]) -> int:
    if sys.stderr is not None:
        print(f"autoconfig: error: the command: needs {' and '.join(missing)}", file=sys.stderr)
        print("  try: pip install 'ld-autoconfig[cli]'", file=sys.stderr)
    return USAGE


def _handle_signals(handler: Callable[[int, FrameType | None], object]) -> dict[int, Any]:
    """Set the handler of both signals and return the previous ones; do nothing outside the main thread."""
    try:
        return {number: signal.signal(number, handler) for number in _SIGNALS}
    except ValueError:
        return {}


def _exit_at_once(number: int, frame: FrameType | None) -> None:
    # Nothing is open yet, or any more. An exception could come in the middle of an import, or be swallowed there.
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
