"""The application's logger, so that nothing that it raises can harm a stream."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[Any]
else:
    Adapter = logging.LoggerAdapter  # not generic before Python 3.11

Logger = logging.Logger | Adapter

# Frames between the caller and what finds it. Python 3.10 counts logging's own ones, too.
_STACKLEVEL = 2 if sys.version_info >= (3, 11) else 3


class SafeLogger(Adapter):
    """
    Passes everything on to a logger, and drops what that raises.

    A filter or a handler of the application's may raise. In the middle of a change, that would lose the change; at the
    top of a thread, it would end the thread.

    Args:
        logger: The application's logger.

    Raises:
        TypeError: It is something else.
    """

    def __init__(self, logger: Logger) -> None:
        if not isinstance(logger, logging.Logger | logging.LoggerAdapter):
            raise TypeError(f"logger must be a logging.Logger or a LoggerAdapter, not {type(logger).__name__}")
        super().__init__(logger)

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line."""
        with suppress(Exception):
            super().log(level, msg, *args, stacklevel=_STACKLEVEL, **kwargs)

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave it as it is; the base class would replace ``extra``."""
        return msg, kwargs
