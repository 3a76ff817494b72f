"""The owner of a stream: its two threads and the queue between them are started and stopped here and nowhere else."""

from __future__ import annotations

import itertools
import logging
import queue
import threading
import time
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from types import TracebackType

from .config import HTTPConfig, RetryPolicy
from .dispatcher import Dispatcher
from .exceptions import AutoConfigError, ClosedError, KeyRejectedError
from .handler import MessageHandler, check_handler
from .identifiers import AutoConfigKey, mask
from .messages import Batch
from .stream.cancel import CancelToken, Latch
from .stream.connection import Connector, endpoint
from .stream.reader import StreamReader
from .stream.retry import Backoff
from .validation import check_header_value, check_instance, check_number, check_seconds, check_url

_QUEUED_BATCHES = 8  # enough to keep both threads busy; more would only hold memory while the handler is slow
# Seconds that close() gives the reader. All that can take longer is the look-up of a name, which nothing interrupts.
_INTERRUPTION = 0.75
_DEFAULT_RETRY_DELAY = 1.0  # seconds
_numbers = itertools.count(1)


class StreamManager:
    """
    Follows an auto-configuration stream and keeps a handler in step with it.

    Nothing happens in the constructor; :meth:`start` creates two daemon threads, and :meth:`close` ends them. Trouble
    with the network is never raised: it is logged, and tried again for ever. Only a key that is refused ends the
    stream.

    Args:
        key: The auto-configuration key, ``rel-…``; a secret.
        stream_uri: The service's base URI, such as ``https://stream.launchdarkly.com``. Its query is kept.
        handler: An object with the six methods of :class:`MessageHandler`.
        http_config: Proxies, certificates, timeouts; default :class:`HTTPConfig`.
        initial_retry_delay: Seconds before the second attempt to connect; zero or less means 1.
        protocol_version: 2 asks for payload filters too, 1 does not.
        logger: Default ``logging.getLogger("autoconfig")``.
        retry_policy: How the delay between attempts grows; default :class:`RetryPolicy`.

    Raises:
        TypeError: An argument has the wrong type, or the handler lacks a method; the text names it.
        ValueError: The key, the URI or a number is out of what it may be; the text names the argument.
    """

    def __init__(
        self,
        key: AutoConfigKey | str,
        stream_uri: str,
        handler: MessageHandler,
        http_config: HTTPConfig | None = None,
        initial_retry_delay: float = 1.0,
        protocol_version: int = 2,
        logger: logging.Logger | None = None,
        *,
        retry_policy: RetryPolicy | None = None,
    ) -> None:
        check_header_value("key", key)
        check_url("stream_uri", stream_uri)
        check_handler(handler)
        if check_instance("protocol_version", protocol_version, int) < 1:
            raise ValueError(f"protocol_version must be 1 or more, not {protocol_version}")
        config = check_instance("http_config", http_config or HTTPConfig(), HTTPConfig)
        policy = check_instance("retry_policy", retry_policy or RetryPolicy(), RetryPolicy)
        delay = (
            initial_retry_delay
            if check_number("initial_retry_delay", initial_retry_delay) > 0
            else _DEFAULT_RETRY_DELAY
        )

        self._log = logger or logging.getLogger("autoconfig")
        self._number = next(_numbers)
        self._shown = f"StreamManager({mask(key)!r}, {stream_uri.partition('?')[0].rpartition('@')[2]!r})"
        self._ready: Future[None] = Future()
        self._error: KeyRejectedError | None = None  # why the stream is off, if it ended by itself
        self._lock = (
            threading.RLock()
        )  # guards _threads and _closed; reentrant, because a signal handler may call close() inside close()
        self._waking = threading.Lock()  # held while the threads are woken; never waited for
        self._closed = False
        self._threads: tuple[threading.Thread, ...] = ()
        self._off = Latch()  # set when no callback will begin any more

        self._token = CancelToken()
        self._batches: queue.Queue[Batch] = queue.Queue(_QUEUED_BATCHES)
        self._dispatcher = Dispatcher(handler, self._batches, self._token, self._log)
        self._reader = StreamReader(
            Connector(key, endpoint(stream_uri, protocol_version), config, self._token),
            self._batches,
            self._token,
            Backoff(check_seconds("initial_retry_delay", delay), policy),
            max_event_bytes=config.max_event_bytes,
            on_connected=self._connected,
            logger=self._log,
        )

    def __repr__(self) -> str:
        return f"<{self._shown}>"

    def start(self) -> Future[None]:
        """
        Start following the stream; returns at once.

        Returns:
            A future that is done when the service first answers with a stream: with ``None`` then, with
            :class:`KeyRejectedError` if the key is refused, with :class:`ClosedError` if the manager is closed before.
            It says nothing of the first configuration; that is there when ``received_all_environments`` is called.

        Raises:
            RuntimeError: It was called before.
            ClosedError: The manager is closed; make a new one.
        """
        with self._lock:
            if self._closed:
                raise ClosedError("a closed manager cannot be started; make a new one")
            if self._threads:
                raise RuntimeError("the manager was started already")
            self._ready.set_running_or_notify_cancel()  # so that nobody can cancel it
            self._threads = tuple(
                threading.Thread(target=target, name=f"autoconfig-{name}-{self._number}", daemon=True)
                for name, target in (("dispatcher", self._run_dispatcher), ("reader", self._run_reader))
            )
            for thread in self._threads:
                thread.start()
        return self._ready

    def close(self, timeout: float = 5.0) -> bool:
        """
        Stop everything; after the return no method of the handler begins any more.

        May be called from any thread, from inside a callback (which then is the last), before :meth:`start`, and again.
        Interrupts whatever the network is doing. Only a running callback is waited for, when called from another
        thread.

        Args:
            timeout: How many seconds to wait for a running callback.

        Returns:
            Whether all ended. If not, a WARNING says what did not; that thread is a daemon and ends by itself.

        Raises:
            TypeError: The timeout is not a number.
            ValueError: It is negative.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        with self._lock:
            self._closed = True
        self._token.cancel()
        self._settle(ClosedError("the manager was closed before it was connected"))
        self._wake_threads()
        ended = not self._threads or self._join(deadline)
        self._off.set()
        return ended

    def join(self, timeout: float | None = None) -> bool:
        """
        Wait until the stream is off: closed, or ended because the key was refused.

        Args:
            timeout: How many seconds to wait; ``None`` means for ever.

        Returns:
            ``True`` when the stream is off, ``False`` at the timeout.

        Raises:
            KeyRejectedError: The stream is off because the key was refused.
            RuntimeError: The manager was not started, or the call comes from inside a callback, which would wait for
                itself.
        """
        if timeout is not None:
            check_seconds("timeout", timeout, zero=True)
        if threading.current_thread() in self._threads:
            raise RuntimeError("join() inside a callback would wait for itself")
        if not self._threads and not self._closed:
            raise RuntimeError("the manager was not started")
        off = self._off.wait(timeout)
        if off and self._error:
            raise KeyRejectedError(self._error.status)  # a new one: a traceback grows each time its exception is raised
        return off

    def __enter__(self) -> StreamManager:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run_reader(self) -> None:
        try:
            self._reader.run()
        except KeyRejectedError as error:
            self._error = KeyRejectedError(error.status)  # without the traceback, whose frames hold the key
            self._log.error("The stream has ended: %s", self._error)
            self._settle(self._error)
        finally:
            self._batches.put([])

    def _run_dispatcher(self) -> None:
        try:
            self._dispatcher.run()
        finally:
            self._off.set()

    def _connected(self) -> None:
        if not self._ready.done():
            self._log.info("Connected")
            self._settle(None)

    def _settle(self, error: AutoConfigError | None) -> None:
        """Give the future its outcome, unless it has one."""
        with suppress(InvalidStateError):
            if error is None:
                self._ready.set_result(None)
            else:
                self._ready.set_exception(error)

    def _wake_threads(self) -> None:
        """Wake a reader that waits for room in the queue and a dispatcher that waits for a message."""
        # Another thread that closes is doing it, or this one is, below a signal handler: the queue's lock would wait
        # for itself.
        if not self._waking.acquire(blocking=False):
            return
        try:
            with suppress(queue.Empty):
                while True:
                    self._batches.get_nowait()
            with suppress(queue.Full):  # then the dispatcher is not waiting
                self._batches.put_nowait([])
        finally:
            self._waking.release()

    def _join(self, deadline: float) -> bool:
        dispatcher, reader = self._threads
        waited_until = min(deadline, time.monotonic() + _INTERRUPTION)
        return all(
            [
                self._ended(reader, waited_until, "the network, probably the look-up of a name"),
                self._ended(dispatcher, deadline, "the handler"),
            ]
        )

    def _ended(self, thread: threading.Thread, deadline: float, place: str) -> bool:
        """Wait for a thread, unless it is this one; if it does not end in time, say where it is."""
        if thread is threading.current_thread():
            return True
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            callback = self._dispatcher.running if place == "the handler" else None
            where = f"{place}'s {callback}" if callback else place
            self._log.warning("close() gave up waiting for the thread %s, which is still in %s", thread.name, where)
            return False
        return True
