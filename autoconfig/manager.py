"""``StreamManager``, which the application holds: it builds the parts of a stream, starts, waits for and closes it."""

from __future__ import annotations

import logging
import math
import os
import queue
import sys
import threading
import time
import warnings
import weakref
from concurrent.futures import Future
from typing import Literal

from .config import HTTPConfig, RetryPolicy
from .dispatch.calls import HandlerCalls
from .dispatch.dispatcher import Dispatcher, Observer
from .exceptions import ClosedError, ForkedError, KeyRejectedError, NotReadyError
from .handler import MessageHandler, check_handler
from .handler_errors import HandlerErrors
from .identifiers import AutoConfigKey
from .inner_handlers import AttachedStream, attach, detach
from .keys import KeySource
from .messages import Batch
from .safe_logger import Logger, SafeLogger, log_aside
from .service import Service
from .status import StatusListener, StreamState, StreamStatus
from .status_tracker import StatusTracker
from .store import CacheThread, ConfigurationStore, check_store
from .stream.cancel import CancelToken
from .stream.reader import StreamReader
from .stream.retry import RetryPlan
from .stream.source import SourceMaker
from .threads import StreamThreads
from .validation import check_callable, check_instance, check_number, check_seconds, instance_or_default

_DEFAULT_RETRY_DELAY = 1.0  # seconds
_QUEUED_BATCHES = 8  # enough to keep both threads busy; more would only use memory while the handler is slow


class StreamManager:
    """
    Follows an auto-configuration stream and keeps a handler in step with it.

    Nothing happens in the constructor; :meth:`start` creates two daemon threads, and :meth:`close` ends them. Network
    errors are never raised: they are logged, and the connection is retried for ever. Only a refused key ends the
    stream. A manager that is dropped without :meth:`close` is a ``ResourceWarning``, and its stream ends.

    While two or more managers run in a process, each log line begins with the number and the masked key of its own,
    such as ``[2 rel-…0ae7]``; the number is in the names of its threads, too.

    Args:
        key: The auto-configuration key, ``rel-…``; a secret. A string is the key itself, never a path. Or the path of a
            file that holds it (an ``os.PathLike``), or a function that returns it: these are read in the reader's
            thread before each attempt to connect, so that the key can be changed without a restart.
        stream_uri: The service's base URI. Its query is kept; user name, password and fragment are not.
        handler: An object with the six methods of :class:`MessageHandler`; required.
        http_config: Proxies, certificates, timeouts; default :class:`HTTPConfig`.
        initial_retry_delay: Seconds before the second attempt to connect; zero or less means 1.
        protocol_version: Above 1, the service is asked for this version; 2 includes payload filters. Others ask for
            none.
        logger: A :class:`logging.Logger` or an adapter of one; default ``logging.getLogger("autoconfig")``.
        retry_policy: How the delay between attempts grows; default :class:`RetryPolicy`.
        on_rejected_key: What a refused key (401, 403) leads to: ``"stop"`` ends the stream, ``"retry"`` tries again
            after 5 minutes, growing to 1 hour (with the default policy).
        handler_errors: What happens after a call of the handler that raised; default :class:`HandlerErrors`.
        slow_callback: A call of the handler that took longer than this many seconds is logged at WARNING when it
            returns; ``None`` turns that off.
        cache: Where the last known configuration outlives the process, such as :class:`autoconfig.cache.FileStore`. It
            is served until the service has sent its own, which then counts, whatever the versions; also when the key is
            rejected. A third thread loads it and saves what the stream brings, at most five times a second; the stream
            never waits for it. ``StreamStatus.content`` says what the handler has.

    Raises:
        TypeError: An argument has the wrong type, or the handler is missing or lacks a method; the text names it.
        ValueError: The key, the URI or a number is invalid; the text names the argument.
    """

    def __init__(
        self,
        key: AutoConfigKey | KeySource,
        stream_uri: str = "https://stream.launchdarkly.com",
        handler: MessageHandler = None,  # type: ignore[assignment]  # required, but a default may come before it
        http_config: HTTPConfig | None = None,
        initial_retry_delay: float = _DEFAULT_RETRY_DELAY,
        protocol_version: int = 2,
        logger: Logger | None = None,
        *,
        retry_policy: RetryPolicy | None = None,
        on_rejected_key: Literal["stop", "retry"] = "stop",
        handler_errors: HandlerErrors | None = None,
        slow_callback: float | None = 5.0,
        cache: ConfigurationStore | None = None,
    ) -> None:
        if on_rejected_key not in ("stop", "retry"):
            raise ValueError(f"on_rejected_key must be 'stop' or 'retry', not {on_rejected_key!r}")
        self._build(
            Service(key, stream_uri, http_config, protocol_version),
            handler,
            _retry_plan(initial_retry_delay, retry_policy),
            stop_on_rejection=on_rejected_key == "stop",
            logger=logger,
            handler_errors=handler_errors,
            slow_callback=slow_callback,
            cache=cache,
        )

    @classmethod
    def from_source(
        cls,
        source: SourceMaker,
        handler: MessageHandler,
        *,
        initial_retry_delay: float = _DEFAULT_RETRY_DELAY,
        logger: Logger | None = None,
        retry_policy: RetryPolicy | None = None,
        handler_errors: HandlerErrors | None = None,
        slow_callback: float | None = 5.0,
        cache: ConfigurationStore | None = None,
    ) -> StreamManager:
        """
        Return a manager that follows another source than the service's stream, such as ``redis.RedisSource``.

        Key, URI and HTTP belong to the service's stream alone, so these have no place here. All else is as with the
        constructor. The source describes what to follow and holds nothing open: several managers may be made from one.

        Raises:
            TypeError: An argument has the wrong type, or the handler is missing or lacks a method; the text names it.
            ValueError: A number is invalid; the text names the argument.
        """
        check_callable("source.make", getattr(source, "make", None))
        manager = cls.__new__(cls)
        manager._build(
            source,
            handler,
            _retry_plan(initial_retry_delay, retry_policy),
            logger=logger,
            handler_errors=handler_errors,
            slow_callback=slow_callback,
            cache=cache,
        )
        return manager

    def _build(
        self,
        source: SourceMaker,
        handler: MessageHandler,
        plan: RetryPlan,
        *,
        logger: Logger | None,
        handler_errors: HandlerErrors | None,
        slow_callback: float | None,
        cache: ConfigurationStore | None = None,
        stop_on_rejection: bool = True,
    ) -> None:
        """Make the parts and connect them: the rest of the constructor, also for other sources than the service."""
        check_handler(handler)
        errors = instance_or_default("handler_errors", handler_errors, HandlerErrors)
        slow_after = math.inf if slow_callback is None else check_seconds("slow_callback", slow_callback)
        self._source = source
        self._lock = threading.RLock()  # guards the next two; reentrant, because a signal handler may call close()
        self._started = False
        self._closed = False
        self._warned_in: int | None = None  # the forked process in which the warning was logged
        self._log = log = SafeLogger(logging.getLogger("autoconfig") if logger is None else logger)
        self._status = status = StatusTracker(log)
        token = CancelToken()
        batches: queue.Queue[Batch] = queue.Queue(_QUEUED_BATCHES)
        calls = HandlerCalls(handler, token, errors=errors, slow_after=slow_after, status=status, logger=log)
        saving = None if cache is None else CacheThread(check_store(cache), batches, token, status, log)
        self._threads = StreamThreads(batches, token, calls, saving, status, log)
        self._dispatcher = Dispatcher(calls, errors, batches, status, log, saving.content if saving else None)
        self._reader = StreamReader(
            source.make(token, log),
            batches,
            token,
            plan,
            status,
            stop_on_rejection=stop_on_rejection,
            on_connected=self._threads.note_connected,
            logger=log,
        )
        self._attach_to(handler)

    def _observe(self, observer: Observer) -> None:
        """Let an observer get each message that counts, in the dispatcher's thread; called before :meth:`start`."""
        self._dispatcher.add_observer(observer)

    def _attach_to(self, handler: MessageHandler) -> None:
        self._handler = handler
        # Both weak, so that a handler keeps neither the manager nor its threads alive.
        threads = weakref.ref(self._threads)
        self._attached_stream = AttachedStream(
            lambda: (found := threads()) is None or found.stopped, weakref.WeakMethod(self.wait_until_ready)
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._source}>"

    def __del__(self) -> None:
        threads = vars(self).get("_threads")  # not there if the constructor raised
        if threads is not None and not sys.is_finalizing() and threads.drop():
            warnings.warn(f"{self!r} was dropped without close()", ResourceWarning, stacklevel=2, source=self)

    def start(self) -> Future[None]:
        """
        Start following the stream; returns at once.

        Returns:
            The future :attr:`connected`.

        Raises:
            RuntimeError: It was called before; or, and the manager is closed then, the system has no thread left or a
                ready-made handler belongs to another manager that is still running.
            ClosedError: The manager is closed; make a new one.
            ForkedError: The manager was started before a fork, in the parent process; make a new one.
        """
        self._check_process()
        with self._lock:
            if self._closed:
                raise ClosedError("a closed manager cannot be started; make a new one")
            if self._started:
                raise RuntimeError("the manager was started before")
            self._started = True
            try:
                attach(self._handler, self._attached_stream)
                self._threads.start(self._reader.run, self._dispatcher.run, self._source.name)
            except BaseException:  # no second thread, or Ctrl-C; __exit__() will not be called
                self.close()
                raise
        return self._threads.connected

    @property
    def connected(self) -> Future[None]:
        """
        A future that is done when the service first answers with a stream.

        Its result is ``None`` then; it raises :class:`KeyRejectedError` if the key is refused, :class:`ClosedError` if
        the manager is closed before. It says nothing about the first configuration; see :meth:`wait_until_ready`. Wait
        for it with a timeout: an unreachable service is retried for ever. Its callbacks run in the reader's thread or
        in the one that calls :meth:`close`, so they should not block.
        """
        self._is_forked()
        return self._threads.connected

    def close(self, timeout: float = 5.0) -> bool:
        """
        Stop everything; once it has returned, no further method of the handler is called.

        May be called from any thread, from a signal handler, from inside a callback (which then is the last), before
        :meth:`start`, and again. Interrupts whatever the network is doing. A running callback is waited for, when the
        call comes from another thread; and up to 0.75 s, what nothing can interrupt: the look-up of a name, decoding a
        message of many megabytes, a function of yours that the reader calls, a log handler. After Ctrl-C in this call
        the stream is off all the same. In a forked child it does nothing.

        Args:
            timeout: How many seconds to wait for a running callback, and for the cache to be saved if it does not have
                the last changes; everything else has at least 0.3 s to end.

        Returns:
            Whether all ended. If not, a WARNING says what did not; that thread is a daemon and ends by itself.

        Raises:
            TypeError: The timeout is not a number.
            ValueError: It is negative or longer than 366 days.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._threads.has_forked():
            return True
        try:
            with self._lock:
                self._closed = True
            ended = self._threads.stop(deadline)
            return detach(self._handler, self._attached_stream, deadline) and ended
        except BaseException:  # Ctrl-C
            self._threads.cancel()
            raise

    def join(self, timeout: float | None = None) -> bool:
        """
        Wait until the stream is off: closed, or ended because the key was refused.

        Args:
            timeout: How many seconds to wait; ``None`` means for ever.

        Returns:
            ``True`` when the stream is off, ``False`` at the timeout. A callback that called :meth:`close` may still be
            running then.

        Raises:
            KeyRejectedError: The stream is off because the key was refused.
            RuntimeError: The manager was not started, or the call comes from inside a callback, which would wait for
                itself.
            ForkedError: The manager was started before a fork, in the parent process.
            TypeError: The timeout is not a number.
            ValueError: It is negative or longer than 366 days.
            BaseException: What ended one of the stream's threads, if that should ever happen.
        """
        self._check_wait("join", timeout)
        off = self._threads.wait_for_end(timeout)
        if off:
            self._raise_error()
        return off

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """
        Wait until the first full configuration has been handed over: ``received_all_environments`` was called.

        Args:
            timeout: How many seconds to wait; ``None`` means for ever.

        Raises:
            KeyRejectedError: The key was refused before.
            ClosedError: The manager was closed before.
            NotReadyError: It did not come in time; a ``TimeoutError``, whose text holds the last error.
            RuntimeError: The manager was not started, or the call comes from inside a callback, which would wait for
                itself.
            ForkedError: The manager was started before a fork, in the parent process.
            TypeError: The timeout is not a number.
            ValueError: It is negative or longer than 366 days.
            BaseException: What ended one of the stream's threads, if that should ever happen.
        """
        self._check_wait("wait_until_ready", timeout)
        if self._status.wait_until_ready(timeout):
            return
        status = self._status.status
        if status.state is StreamState.OFF:
            self._raise_error()
            raise ClosedError("the manager was closed before the first full configuration came")
        error = f"the last error was: {status.last_error.message}" if status.last_error else "there was no error"
        raise NotReadyError(f"no full configuration within {timeout:g} s; the stream is {status.state.value}, {error}")

    @property
    def status(self) -> StreamStatus:
        """A snapshot of how the stream is doing; from any thread, without blocking."""
        self._is_forked()
        return self._status.status

    def add_status_listener(self, listener: StatusListener) -> None:
        """
        Call a function with the new :class:`StreamStatus` when its state, last error or refused environments change.

        It is called in the thread that brought the change about: one of the stream's or one that calls :meth:`close`.
        Calls come one at a time and in order. It should return soon, because the stream is held up meanwhile. What it
        raises is logged; but Ctrl-C in the main thread is raised.

        Raises:
            TypeError: It cannot be called.
            ForkedError: The manager was started before a fork, in the parent process.
        """
        self._check_process()
        self._status.listeners.add(listener)

    def remove_status_listener(self, listener: StatusListener) -> None:
        """Remove a status listener; nothing happens if it was not added."""
        self._status.listeners.remove(listener)

    def wait_for(self, state: StreamState, timeout: float | None = None) -> bool:
        """
        Wait until the stream is in a state.

        Args:
            state: The state.
            timeout: How many seconds to wait; ``None`` means for ever.

        Returns:
            Whether it is; ``False`` also at once when the stream is off, because then no other state will come.

        Raises:
            RuntimeError: The manager was not started, or the state is another one and the call comes from inside a
                callback, which would hold up the stream that it waits for.
            ForkedError: The manager was started before a fork, in the parent process.
            TypeError: The state is no :class:`StreamState`, or the timeout no number.
            ValueError: The timeout is negative or longer than 366 days.
        """
        check_instance("state", state, StreamState)
        self._check_wait("wait_for", timeout, inside=self._status.status.state is state)
        return self._status.wait_for(state, timeout)

    def __enter__(self) -> StreamManager:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _check_wait(self, method: str, timeout: float | None, *, inside: bool = False) -> None:
        """Raise unless one may wait, in a callback only if ``inside``."""
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        self._check_process()
        if not self._started and not self._closed:
            raise RuntimeError(f"{method}() of a manager that was not started would wait for ever")
        if self._threads.is_current() and not inside:
            raise RuntimeError(f"{method}() inside a callback would wait for itself")

    def _check_process(self) -> None:
        if self._is_forked():
            raise ForkedError

    def _is_forked(self) -> bool:
        """Return whether the stream is the parent's, of which this is a fork; the first time, warn."""
        if not self._threads.has_forked():
            return False
        if self._warned_in != os.getpid():
            self._warned_in = os.getpid()
            text = "%r runs in the parent process only: this fork has to make and start its own"
            log_aside(self._log, logging.WARNING, text, self)  # a thread of the parent may have held a handler's lock
        return True

    def _raise_error(self) -> None:
        """Raise what the stream was ended by, if it was not closed."""
        error = self._threads.error
        if isinstance(error, KeyRejectedError):
            raise KeyRejectedError(error.status)  # a new one, because each raise adds to a traceback
        if error is not None:
            raise error.with_traceback(None)


def _retry_plan(initial_delay: float, policy: RetryPolicy | None) -> RetryPlan:
    if check_number("initial_retry_delay", initial_delay) <= 0:
        initial_delay = _DEFAULT_RETRY_DELAY
    check_seconds("initial_retry_delay", initial_delay)
    return RetryPlan(initial_delay, instance_or_default("retry_policy", policy, RetryPolicy))
