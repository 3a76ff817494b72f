"""Wraps the application's logger, so that its errors cannot harm a stream, and lines can name their stream."""

from __future__ import annotations

import _thread
import logging
import sys
import threading
from collections.abc import MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[Any]
else:
    Adapter = logging.LoggerAdapter  # not generic before Python 3.11

Logger = logging.Logger | Adapter

# The stack level of the caller, for logging. Python 3.10 counts logging's own frames too.
_STACKLEVEL = 2 if sys.version_info >= (3, 11) else 3
_PATIENCE = 0.1  # seconds that log_aside() waits for a line to be written
_streams: set[str] = set()  # the names of the streams that run in this process


class SafeLogger(Adapter):
    """
    Passes every line on to a logger, and ignores what the logger raises.

    A logging filter or handler of the application may raise anything. In the middle of a change, that would lose the
    change; at the top of a thread, it would end the thread. While two or more streams run in the process, each line
    begins with the name of its stream, in brackets.

    Args:
        logger: The application's logger.

    Raises:
        TypeError: It is something else.
    """

    def __init__(self, logger: Logger) -> None:
        if not isinstance(logger, logging.Logger | logging.LoggerAdapter):
            raise TypeError(f"logger must be a logging.Logger or a LoggerAdapter, not {type(logger).__name__}")
        super().__init__(logger)
        if type(logger) is logging.Logger:  # its own method raises nothing, and is called for each batch of messages
            self.isEnabledFor = logger.isEnabledFor  # type: ignore[method-assign]
        self._stream = ""
        self._busy: set[int] = set()  # the threads that are writing a line at the moment

    def begin_stream(self, name: str) -> None:
        """Note that the stream of this name runs, and logs with this logger."""
        self._stream = name
        _streams.add(name)

    def end_stream(self) -> None:
        """Note that the stream has ended."""
        _streams.discard(self._stream)

    def is_busy(self, thread: threading.Thread) -> bool:
        """Return whether the thread is writing a line at the moment."""
        return thread.ident in self._busy

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line."""
        if self._stream and len(_streams) > 1:
            name = f"[{self._stream}] "
            msg = f"{name.replace('%', '%%') if args else name}{msg}"
        me = threading.get_ident()
        self._busy.add(me)
        try:
            super().log(level, msg, *args, stacklevel=_STACKLEVEL, **kwargs)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
        finally:
            self._busy.discard(me)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name that logging has given it
        """Return whether lines of this level are wanted; a logger that cannot say so gets none."""
        try:
            return super().isEnabledFor(level)
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            return False

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        """Change nothing; the base class would replace ``extra``."""
        return msg, kwargs


def log_aside(logger: Logger, level: int, msg: object, *args: object, **kwargs: Any) -> None:
    """
    Log a line in a separate thread, and wait for it at most 0.1 s.

    For lines of the application's threads: a handler that hangs, or whose lock a hanging thread holds, must not
    hold up :meth:`StreamManager.close`. At the end of the interpreter, when no thread can start, the line is lost.
    """
    written = threading.Lock()
    written.acquire()
    threads: list[threading.Thread] = []

    def write() -> None:
        try:
            logger.log(level, msg, *args, **kwargs)
        finally:
            written.release()

    def start() -> None:
        threads.append(threading.Thread(target=write, name="autoconfig-log", daemon=True))
        with suppress(RuntimeError):
            threads[0].start()

    try:
        # Not Thread.start(): this may be a signal handler that has interrupted another start(), which holds a lock.
        _thread.start_new_thread(start, ())
    except RuntimeError:
        return
    if written.acquire(timeout=_PATIENCE):
        threads[0].join(_PATIENCE)


def is_ctrl_c(error: BaseException) -> bool:
    """Return whether the error is the user's Ctrl-C, and not an error of a function that was called."""
    return isinstance(error, KeyboardInterrupt) and threading.get_ident() == threading.main_thread().ident
