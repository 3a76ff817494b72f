"""The library's log lines, on stderr."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .output import put_error

LOGGER = logging.getLogger("autoconfig")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # by how often -v was given
_BRIEF = "autoconfig: %(message)s"
_DETAILED = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is at the moment: while a table is shown, that is another stream than before."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; an error is logging's to handle, as with every handler."""
        try:
            put_error(self.format(record))
        except Exception:
            self.handleError(record)


@contextmanager
def library_logs(verbosity: int) -> Iterator[None]:
    """
    Show what the library logs while the block runs.

    Args:
        verbosity: 0 for warnings and errors, 1 for INFO too, 2 for DEBUG too.
    """
    level = _LEVELS[min(verbosity, len(_LEVELS) - 1)]
    handler = StderrHandler(level)
    handler.setFormatter(logging.Formatter(_DETAILED if verbosity else _BRIEF))
    before = LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(level)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)
