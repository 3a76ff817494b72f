"""
The command ``autoconfig``: its exit codes and its signals.

This module imports next to nothing, so that ``--help`` is quick and Ctrl-C is handled from the first moment.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from types import FrameType

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
    before = {}
    try:
        with suppress(ValueError):  # outside of the main thread, where there are no signals
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.signal(number, _raise)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, frame: FrameType | None) -> None:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
