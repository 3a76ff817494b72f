"""What the application holds: the owner of a stream, which it starts, waits for and closes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Literal

from . import forks
from .config import HTTPConfig, RetryPolicy
from .exceptions import AutoConfigError, ClosedError, ForkedError, KeyRejectedError
from .handler import MessageHandler, check_handler
from .handler_errors import HandlerErrors
from .identifiers import AutoConfigKey
from .inner_handlers import AttachedStream, attach, detach
from .keys import KeySource, key_reader, show_key
from .safe_logger import Logger, SafeLogger
from .status import StatusListener, StreamState, StreamStatus
from .stream.cancel import CancelToken
from .stream.connection import Connector, endpoint
from .threads import StreamOptions, StreamThreads
from .tracking import StatusTracker
from .validation import check_instance, check_number, check_seconds, check_url

_DEFAULT_RETRY_DELAY = 1.0  # seconds


class StreamManager:
    """
    Follows an auto-configuration stream and keeps a handler in step with it.

    Nothing happens in the constructor; :meth:`start` creates two daemon threads, and :meth:`close` ends them. Network
    errors are never raised: they are logged, and the connection is retried for ever. Only a refused key ends the
    stream.

    Args:
        key: The auto-configuration key, ``rel-…``; a secret. A string is the key itself, never a path. Or the path of a
            file that holds it (an ``os.PathLike``), or a function that returns it: these are read in the reader's
            thread before each attempt to connect, so that the key can be changed without a restart.
        stream_uri: The service's base URI, such as ``https://stream.launchdarkly.com``. Its query is kept;
            user name, password and fragment are not.
        handler: An object with the six methods of :class:`MessageHandler`.
        http_config: Proxies, certificates, timeouts; default :class:`HTTPConfig`.
        initial_retry_delay: Seconds before the second attempt to connect; zero or less means 1. A policy with an
            ``initial_delay`` wins.
        protocol_version: Version 2 includes payload filters; version 1 does not.
        logger: A :class:`logging.Logger` or an adapter of one; default ``logging.getLogger("autoconfig")``.
        retry_policy: How the delay between attempts grows; default :class:`RetryPolicy`.
        on_rejected_key: What a refused key (401, 403) leads to: ``"stop"`` ends the stream, ``"retry"`` tries again
            after 5 minutes, growing to 1 hour (with the default policy).
        handler_errors: What happens after a call of the handler that raised; default :class:`HandlerErrors`.
        slow_callback: A call of the handler that took longer than this many seconds is logged at WARNING when it
            returns.

    Raises:
        TypeError: An argument has the wrong type, or the handler lacks a method; the text names it.
        ValueError: The key, the URI or a number is out of what it may be; the text names the argument.
    """

    def __init__(
        self,
        key: AutoConfigKey | KeySource,
        stream_uri: str,
        handler: MessageHandler,
        http_config: HTTPConfig | None = None,
        initial_retry_delay: float = _DEFAULT_RETRY_DELAY,
        protocol_version: int = 2,
        logger: Logger | None = None,
        *,
        retry_policy: RetryPolicy | None = None,
        on_rejected_key: Literal["stop", "retry"] = "stop",
        handler_errors: HandlerErrors | None = None,
        slow_callback: float = 5.0,
    ) -> None:
        read_key = key_reader(key)
        check_url("stream_uri", stream_uri)
        check_handler(handler)
        config = check_instance("http_config", HTTPConfig() if http_config is None else http_config, HTTPConfig)
        policy = check_instance("retry_policy", RetryPolicy() if retry_policy is None else retry_policy, RetryPolicy)
        if check_number("initial_retry_delay", initial_retry_delay) <= 0:
            initial_retry_delay = _DEFAULT_RETRY_DELAY
        if check_instance("protocol_version", protocol_version, int) < 1:
            raise ValueError(f"protocol_version must be 1 or more, not {protocol_version}")
        if on_rejected_key not in ("stop", "retry"):
            raise ValueError(f"on_rejected_key must be 'stop' or 'retry', not {on_rejected_key!r}")

        self._log = SafeLogger(logging.getLogger("autoconfig") if logger is None else logger)
        url = endpoint(stream_uri, protocol_version)
        self._shown = f"{show_key(key)} at {url.partition('?')[0]}"
        self._ready: Future[None] = Future()
        self._ready.set_running_or_notify_cancel()  # so that nobody can cancel it
        self._rejected: KeyRejectedError | None = None  # why the stream is off, if it ended by itself
        self._lock = threading.RLock()  # guards the next three; reentrant, because a signal handler may call close()
        self._started = False
        self._closed = False
        self._forked = False
        self._status = StatusTracker(self._log)
        self._token = CancelToken()
        self._threads = StreamThreads(
            Connector(read_key, url, config, self._token),
            handler,
            self._token,
            StreamOptions(
                policy.initial_delay or check_seconds("initial_retry_delay", initial_retry_delay),
                policy,
                on_rejected_key == "stop",
                config.max_event_bytes,
                check_instance(
                    "handler_errors", HandlerErrors() if handler_errors is None else handler_errors, HandlerErrors
                ),
                check_seconds("slow_callback", slow_callback),
            ),
            self._status,
            on_connected=self._connected,
            on_rejected=self._key_rejected,
            logger=self._log,
        )
        self._handler = handler
        token, off = self._token, self._threads.off
        self._attached_stream = AttachedStream(lambda: token.cancelled or off.is_set, lambda: None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"

    def start(self) -> Future[None]:
        """
        Start following the stream; returns at once.

        Returns:
            A future that is done when the service first answers with a stream. Its result is ``None`` then; it raises
            :class:`KeyRejectedError` if the key is refused, :class:`ClosedError` if the manager is closed before.
            It says nothing of the first configuration; that is complete when ``received_all_environments`` is called.
            Wait for it with a timeout: an unreachable service is retried for ever. Its callbacks run in the reader's
            thread or in the one that calls :meth:`close`, so they should not block.

        Raises:
            RuntimeError: It was called before; or, and the manager is closed then, the system has no thread left or a
                ready-made handler belongs to another manager that is still running.
            ClosedError: The manager is closed; make a new one.
            ForkedError: The manager was started before a fork, in the parent process; make a new one.
        """
        with self._lock:
            if self._forked:
                raise ForkedError
            if self._closed:
                raise ClosedError("a closed manager cannot be started; make a new one")
            if self._started:
                raise RuntimeError("the manager was started before")
            self._started = True
            forks.add(self)
            try:
                attach(self._handler, self._attached_stream)
                self._threads.start()
            except BaseException:  # no second thread, or Ctrl-C; __exit__() will not be called
                self.close()
                raise
        return self._ready

    def close(self, timeout: float = 5.0) -> bool:
        """
        Stop everything; once it has returned, no further method of the handler is called.

        May be called from any thread, from a signal handler, from inside a callback (which then is the last), before
        :meth:`start`, and again. Interrupts whatever the network is doing. A running callback is waited for, when the
        call comes from another thread; and up to 0.75 s, what nothing can interrupt: the look-up of a name, decoding a
        message of many megabytes, a function of yours that the reader calls. In a forked child it does nothing.

        Args:
            timeout: How many seconds to wait for a running callback.

        Returns:
            Whether all ended. If not, a WARNING says what did not; that thread is a daemon and ends by itself.

        Raises:
            TypeError: The timeout is not a number.
            ValueError: It is negative or longer than 366 days.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._forked:
            return True
        with self._lock:
            self._closed = True
        self._settle(ClosedError("the manager was closed before it was connected"))
        ended = self._threads.stop(deadline)
        ended = detach(self._handler, self._attached_stream, deadline) and ended
        self._status.off()
        forks.discard(self)
        return ended

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
        """
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        if self._forked:
            raise ForkedError
        if not self._started and not self._closed:
            raise RuntimeError("the manager was not started")
        if self._threads.is_one(threading.current_thread()):
            raise RuntimeError("join() inside a callback would wait for itself")
        off = self._threads.off.wait(timeout)
        if off and self._rejected:
            raise KeyRejectedError(self._rejected.status)  # a new one, because each raise adds to a traceback
        return off

    @property
    def ready(self) -> Future[None]:
        """The future that :meth:`start` returns, for those who start the manager with ``with``."""
        return self._ready

    @property
    def status(self) -> StreamStatus:
        """A snapshot of how the stream is doing; from any thread, without blocking."""
        return self._status.status

    def add_status_listener(self, listener: StatusListener) -> None:
        """
        Call a function with the new :class:`StreamStatus` whenever the state or the last error changes.

        It is called in the thread that brought the change about: the stream's reader or one that calls :meth:`close`.
        Calls come one at a time and in order. It should return soon, because the stream is not read meanwhile. What it
        raises is logged.

        Raises:
            TypeError: It cannot be called.
        """
        self._status.add_listener(listener)

    def remove_status_listener(self, listener: StatusListener) -> None:
        """Remove a status listener; nothing happens if it was not added."""
        self._status.remove_listener(listener)

    def wait_for(self, state: StreamState, timeout: float | None = None) -> bool:
        """
        Wait until the stream is in a state.

        Args:
            state: The state.
            timeout: How many seconds to wait; ``None`` means for ever.

        Returns:
            Whether it is; ``False`` also at once when the stream is off, because then no other state will come.

        Raises:
            RuntimeError: The call comes from inside a callback, and the state is another one.
            TypeError: The state is no :class:`StreamState`, or the timeout no number.
            ValueError: The timeout is negative or longer than 366 days.
        """
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        check_instance("state", state, StreamState)
        if self._threads.is_one(threading.current_thread()) and self.status.state is not state:
            raise RuntimeError("wait_for() inside a callback would hold up the stream that it waits for")
        return self._status.wait_for(state, timeout)

    def __enter__(self) -> StreamManager:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _connected(self) -> None:
        if not self._ready.done():
            self._log.info("Connected")
            self._settle(None)

    def _key_rejected(self, status: int) -> None:
        self._rejected = KeyRejectedError(status)
        self._log.error("The stream has ended: %s", self._rejected)
        self._status.off(self._rejected)
        self._settle(self._rejected)

    def _settle(self, error: AutoConfigError | None) -> None:
        """Give the future its outcome, unless it has one."""
        try:
            if error is None:
                self._ready.set_result(None)
            else:
                self._ready.set_exception(error)
        except InvalidStateError:
            return
        except BaseException:  # concurrent.futures lets SystemExit and the like of a done callback through
            self._log.exception("A callback of the ready future failed")

    def _abandon(self) -> Callable[[], None] | None:
        """In a forked child: let go of what belongs to the parent, without its locks, which may be held for ever."""
        if self._threads.off.is_set:  # nothing is going on
            return None
        self._forked = True
        self._lock = threading.RLock()
        self._token.abandon()
        self._status.abandon(ForkedError())
        self._ready_is_forked()
        return lambda: self._log.warning(
            "%r runs in the parent process only: this fork has to make and start its own", self
        )

    def _ready_is_forked(self) -> None:
        """
        In a forked child: let the future raise, unless it has a result, and wake nobody.

        Each of its methods takes a lock that a thread of the parent may have held. Who waits for it, and its callbacks,
        are the parent's. There is no public way to renew a future that users hold, so its attributes are replaced.
        """
        forked: Future[None] = Future()
        forked.set_exception(ForkedError())
        renewed = vars(forked)
        if self._ready._state == "FINISHED":
            renewed = {"_condition": renewed["_condition"]}
        vars(self._ready).update(renewed)
