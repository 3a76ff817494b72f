"""The program: what ``autoconfig`` and ``python -m autoconfig`` run. Nothing else imports this module."""

from __future__ import annotations

import os
import signal
import sys

# Before the other imports, because Ctrl-C during an import would print a traceback. Nothing is open yet, so just end.
for _signal in (signal.SIGINT, signal.SIGTERM):
    signal.signal(_signal, lambda number, _: os._exit(128 + number))

from .cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
