"""A log handler that keeps what is logged and lets a test wait for a line."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

LIMIT = 30.0  # seconds for any line


class LogKeeper(logging.Handler):
    """
    Keeps every record.

    Attributes:
        records: All so far.
        logger: A logger that logs only here; it is in no tree.
    """

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.logger = logging.Logger("kept")  # noqa: LOG001  # so that it keeps nobody's records but its own
        self.logger.addHandler(self)
        self._changed = threading.Condition()  # guards records

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)  # what cannot be formatted is an error of whoever logs it
        with self._changed:
            self.records.append(record)
            self._changed.notify_all()

    def texts(self, level: int = logging.NOTSET) -> list[str]:
        """Return the texts of this level and above."""
        with self._changed:
            return [record.getMessage() for record in self.records if record.levelno >= level]

    def wait_until(self, condition: Callable[[], object], timeout: float = LIMIT) -> None:
        """Wait until a line makes the condition true; raises ``AssertionError`` at the timeout."""
        with self._changed:
            assert self._changed.wait_for(condition, timeout), f"not within {timeout} s, but {self.texts()[:50]}"

    def wait_for(self, part: str, timeout: float = LIMIT) -> str:
        """Wait until a line has this part, and return the line."""
        self.wait_until(lambda: any(part in text for text in self.texts()), timeout)
        return next(text for text in self.texts() if part in text)
