"""How this program was called, for commands that are printed to be copied."""

from __future__ import annotations

import os
import shlex
import shutil
import sys


def program() -> str:
    """Return how this program was called, so that it can be called so again."""
    called = sys.argv[0]
    if os.path.basename(called) == "__main__.py":
        return f"{_shortest(sys.executable)} -m autoconfig"
    return _shortest(called)


def _shortest(path: str) -> str:
    """Return a program's name if that is enough for a shell to find it, else its path."""
    name = os.path.basename(path)
    found = shutil.which(name)
    return shlex.quote(name if found and os.path.abspath(found) == os.path.abspath(path) else path)
