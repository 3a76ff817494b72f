"""The library's log lines: on stderr, and as the state of the stream."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from .output import put_error

LOGGER = logging.getLogger("autoconfig")
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # by how often -v was given
_BRIEF = "autoconfig: %(message)s"
_DETAILED = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
# How the lines about the stream begin.
_FAILED, _ENDED, _BACK = "The stream failed", "The stream has ended", "The stream is back"


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


class StateHandler(logging.Handler):
    """
    Follows the stream's state by what the library logs of it.

    Attributes:
        trouble: What is wrong with the stream; ``""`` if nothing is.
        ended: Whether it has ended for good.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trouble = ""
        self.ended = False
        self._level = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record, in whatever thread."""
        text = record.getMessage()
        if text.startswith((_FAILED, _ENDED)):
            self.trouble = text.partition(": ")[2]
            self.ended = text.startswith(_ENDED)
        elif text.startswith(_BACK):
            self.trouble = ""

    def attach(self) -> None:
        """Begin; at DEBUG, the level of all failures but the first of a series."""
        self._level = LOGGER.level
        LOGGER.addHandler(self)
        LOGGER.setLevel(logging.DEBUG)

    def detach(self) -> None:
        """Put the logger back as it was."""
        LOGGER.removeHandler(self)
        LOGGER.setLevel(self._level)
