"""``StreamManager``: builds the parts of a stream, starts it, waits for it, closes it."""

from __future__ import annotations

import logging
import math
import queue
import sys
import threading
import time
import warnings
from concurrent.futures import Future
from typing import Literal, NoReturn
from weakref import WeakMethod

from . import forks
from .cache_thread import CacheThread
from .config import HTTPConfig, RetryPolicy
from .dispatch.calls import HandlerCalls
from .dispatch.dispatcher import Dispatcher, Observer
from .exceptions import ClosedError, ForkedError, KeyRejectedError, NotReadyError
from .handler import MessageHandler, check_handler
from .handler_errors import HandlerErrors
from .identifiers import AutoConfigKey
from .keys import KeySource
from .messages import Batch
from .ready_made.base import AttachedStream, attach, detach
from .safe_logger import Logger, SafeLogger
from .service import Service
from .status import StatusListener, StreamState, StreamStatus
from .status_tracker import StatusTracker
from .store import ConfigurationStore, check_store
from .stream.cancel import CancelToken
from .stream.reader import StreamReader
from .stream.retry import RetryPlan
from .stream.source import SourceMaker
from .stream_threads import StreamThreads
from .validation import check_callable, check_instance, check_number, check_seconds, instance_or_default

_DEFAULT_RETRY_DELAY = 1.0  # seconds
_QUEUED_BATCHES = 8  # enough to keep both threads busy; more would only use memory while the handler is slow


class StreamManager:
    """
    Follows an auto-configuration stream and keeps a handler in step with it.

    The constructor starts nothing; :meth:`start` creates two daemon threads, and :meth:`close` ends them. Network
    errors are never raised: they are logged, and the connection is retried for ever. Only a refused key ends the
    stream. A manager that is dropped without :meth:`close` ends its stream and issues a ``ResourceWarning``.

    While two or more managers run in a process, each log line begins with the manager's number and masked key, such as
    ``[2 rel-…0ae7]``. The names of its threads have the number too.

    In a fork of the process that called :meth:`start`, the manager is off; methods that start, wait or add a listener
    raise :class:`ForkedError` there. Timeouts are in seconds; ``None`` means to wait for ever. A timeout that is not a
    number is a ``TypeError``; one that is negative or longer than 366 days is a ``ValueError``.

    Args:
        key: The auto-configuration key, ``rel-…``; a secret. A string is the key itself, never a path. A file that
            holds the key (an ``os.PathLike``) or a function that returns it is read in the reader's thread before each
            attempt to connect, so that the key can be changed without a restart.
        stream_uri: The service's base URI. Its query is kept; user name, password and fragment are dropped.
        handler: An object with the six methods of :class:`MessageHandler`; required.
        http_config: Proxies, certificates, timeouts; default :class:`HTTPConfig`.
        initial_retry_delay: Seconds before the second attempt to connect; zero or less means 1.
        protocol_version: Which version to ask the service for; 2 includes payload filters. 1 or less asks for none.
        logger: A :class:`logging.Logger` or an adapter of one; default ``logging.getLogger("autoconfig")``.
        retry_policy: How the delay between attempts grows; default :class:`RetryPolicy`.
        on_rejected_key: What to do when the service refuses the key (401, 403): ``"stop"`` ends the stream, ``"retry"``
            retries after 5 minutes, growing to 1 hour (with the default policy).
        handler_errors: What to do after a call of the handler that raised; default :class:`HandlerErrors`.
        slow_callback: Log a WARNING after each call of the handler that took longer than this many seconds; ``None``
            turns that off.
        cache: A store of the last known configuration, such as :class:`autoconfig.cache.FileStore`. The handler gets
            its content if the service does not answer first, also when the key is refused. The service's first full
            configuration replaces it, without regard to versions. A third thread loads it, and saves the changes of
            the stream at most five times a second. The stream never waits for it. ``StreamStatus.content`` says where
            the handler's configuration comes from.

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

        The other arguments, and the errors, are those of the constructor. Several managers may follow one source.
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
        """Make the parts and connect them: what all managers have in common, with any source."""
        check_handler(handler)
        errors = instance_or_default("handler_errors", handler_errors, HandlerErrors)
        slow_after = math.inf if slow_callback is None else check_seconds("slow_callback", slow_callback)
        self._source = source
        self._lock = threading.RLock()  # guards the next two; reentrant, because a signal handler may call close()
        self._started = False
        self._closed = False
        self._log = log = SafeLogger(logging.getLogger("autoconfig") if logger is None else logger)
        self._status = status = StatusTracker(log)
        token = CancelToken()
        batches: queue.Queue[Batch] = queue.Queue(_QUEUED_BATCHES)
        calls = HandlerCalls(handler, token, errors=errors, slow_after=slow_after, status=status, logger=log)
        saving = None if cache is None else CacheThread(check_store(cache), batches, token, status, log)
        self._threads = StreamThreads(batches, token, calls, saving, status, log)
        self._dispatcher = Dispatcher(calls, errors, batches, status, log)
        if saving:
            self._observe(saving.content)
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
        self._handler = handler
        self._attached_stream = AttachedStream(self._threads, WeakMethod(self.wait_until_ready))

    def _observe(self, observer: Observer) -> None:
        """Let an observer get each message that counts, in the dispatcher's thread; called before :meth:`start`."""
        self._dispatcher.add_observer(observer)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._source}>"

    def __reduce__(self) -> NoReturn:
        # A copy that was dropped would end the stream.
        raise TypeError(f"a {type(self).__name__} cannot be copied or pickled; make one in each process")

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
            RuntimeError: It was called before. Or the system has no thread left, or a ready-made handler belongs to
                another manager that is running; then this manager is closed.
            ClosedError: The manager is closed; make a new one.
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

        Its result is ``None``. It raises :class:`KeyRejectedError` if the key is refused, and :class:`ClosedError` if
        the manager is closed before. It says nothing about the first configuration; see :meth:`wait_until_ready`. Wait
        with a timeout, because an unreachable service is retried for ever. The future's callbacks must not block: they
        run in the reader's thread or in the one that calls :meth:`close`.
        """
        self._is_forked()
        return self._threads.connected

    def close(self, timeout: float = 5.0) -> bool:
        """
        Stop everything; after it has returned, no method of the handler is called.

        May be called from any thread, from a signal handler, from inside a callback (then the last one), before
        :meth:`start`, and more than once. It interrupts the network at once. It waits for a running callback, unless
        the callback is the caller. It waits up to 0.75 s for work that nothing can interrupt: the look-up of a name,
        decoding a message of many megabytes, a function of yours that the reader calls, a log handler. After Ctrl-C in
        this call the stream is off as well. In a forked child it does nothing.

        Args:
            timeout: How many seconds to wait for a running callback, and for unsaved changes to be saved to the cache.
                Everything else has at least 0.3 s to end.

        Returns:
            Whether everything has ended. If not, a WARNING names the thread, which is a daemon and ends by itself.
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

        Returns:
            Whether the stream is off. A callback that called :meth:`close` may still be running then.

        Raises:
            KeyRejectedError: The stream is off because the key was refused.
            RuntimeError: The manager was not started, or the call comes from inside a callback.
            BaseException: One of the stream's threads failed, which should never happen.
        """
        self._check_wait("join", timeout)
        off = self._threads.wait_for_end(timeout)
        if off:
            self._raise_error()
        return off

    def wait_until_ready(self, timeout: float | None = None) -> None:
        """
        Wait until the first full configuration has been handed over: ``received_all_environments`` was called.

        Raises:
            KeyRejectedError: The key was refused before.
            ClosedError: The manager was closed before.
            NotReadyError: It did not come in time; a ``TimeoutError``, whose text holds the last error.
            RuntimeError: The manager was not started, or the call comes from inside a callback.
            BaseException: One of the stream's threads failed, which should never happen.
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
        """A snapshot of the stream's state; may be read from any thread, and does not block."""
        self._is_forked()
        return self._status.status

    def add_status_listener(self, listener: StatusListener) -> None:
        """
        Call a function with the new :class:`StreamStatus` when its state, last error or refused environments change.

        It is called in the thread that made the change, which is one of the stream's or one that calls :meth:`close`.
        Calls come one at a time and in order. The stream waits for them, so the function should return soon. What it
        raises is logged, except Ctrl-C in the main thread.

        Raises:
            TypeError: It cannot be called.
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
            timeout: How long to wait.

        Returns:
            Whether it is. When the stream is off it returns at once, because the state will not change any more.

        Raises:
            RuntimeError: The manager was not started, or the call comes from inside a callback and would have to wait.
            TypeError: The state is not a :class:`StreamState`.
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
        """Raise unless the caller may wait; ``inside`` says whether it may inside a callback."""
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
        """Return whether the stream runs in the parent process; the first time, log a WARNING."""
        if not self._threads.has_forked():
            return False
        forks.warn_once(self, self._log)
        return True

    def _raise_error(self) -> None:
        """Raise what has ended the stream, unless it was closed."""
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
