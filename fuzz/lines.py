"""
Says which lines the inputs reach: ``python fuzz/lines.py FOLDER...``.

Of the modules that an input passes through, the branches included.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from pathlib import Path

MODULES = [
    *["stream/events", "stream/decoding", "loose_json", "messages", "environments", "frozen"],
    *["dispatch/dispatcher", "dispatch/delivery", "dispatch/retries", "dispatch/calls", "receiver"],
]
_SECONDS = 60.0  # after which the rest of the inputs is left out


def main() -> int:
    """Play all inputs and print the table."""
    if not importlib.util.find_spec("coverage"):
        sys.stdout.write("(for the lines that were reached: pip install coverage)\n")
        return 0
    import coverage

    measuring = coverage.Coverage(
        data_file=None, branch=True, config_file=False, include=[f"*/autoconfig/{name}.py" for name in MODULES]
    )
    measuring.start()
    _play([path for folder in sys.argv[1:] for path in sorted(Path(folder).iterdir())])
    measuring.stop()
    table = io.StringIO()
    measuring.report(file=table, show_missing=True)
    sys.stdout.write(table.getvalue())
    return 0


def _play(paths: list[Path]) -> None:
    import target

    end = time.monotonic() + _SECONDS
    for path in paths:
        if time.monotonic() > end:
            return
        try:
            target.check(path.read_bytes())
        except Exception as error:
            sys.stdout.write(f"{path.name}: {type(error).__name__}\n")


if __name__ == "__main__":
    sys.exit(main())
