"""One client of the SDK, and the state of it that the pool needs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from ldclient import LDClient
from ldclient.config import Config
from ldclient.interfaces import DataSourceErrorKind, DataSourceState

# Seconds that the constructor may wait for flags. With 0, the SDK warns that each client is not initialized. With many,
# a refused key would hold up a thread, because newer SDKs wait until the time is over.
_CONSTRUCTION = 1.0
_AGAIN = 1.0  # seconds after which a client is closed again, if its stream still runs
_CLOSINGS = 10  # the SDK gives a connection ten seconds to be made
_RETRIED = (400, 408, 429)  # statuses below 500 after which the SDK retries


class Client:
    """
    One ``LDClient``, from its construction until its end.

    The pool's lock guards every attribute that changes.

    Args:
        config: The client's own.
        start_wait: The most seconds that the constructor waits.

    Attributes:
        sdk: The client.
        sdk_key: Its key.
        working: Whether it has flags and an open stream.
        worked: Whether it ever had both.
        refused: Whether its key is refused, so that the SDK will not connect soon, or never.
        error: Why it does not work; see :class:`~autoconfig.clients.ClientStatus`.
        borrowers: How many ``with`` blocks use it.
        due: Whether to close it as soon as nobody borrows it.
        settled: Set when it works, fails or is no longer wanted. Then no thread waits for it.
    """

    def __init__(self, config: Config, start_wait: float) -> None:
        self.config = config
        self.sdk_key: str = config.sdk_key or ""
        self.working = self.worked = self.refused = False
        self.error: str | None = None
        self.borrowers = 0
        self.due = False
        self.settled = threading.Event()
        self.sdk = LDClient(config, start_wait=min(start_wait, _CONSTRUCTION))

    def watch(self, changed: Callable[[], None]) -> None:
        """Call ``changed`` in the SDK's thread whenever the state of the stream changes."""
        self.sdk.data_source_status_provider.add_listener(lambda _: changed())

    def read_state(self) -> None:
        """Read the state of the stream from the SDK."""
        status = self.sdk.data_source_status_provider.status
        self.working = status.state is DataSourceState.VALID or self._needs_no_stream()
        self.worked = self.worked or self.working
        error = None if self.working else status.error
        if error is None:
            self.refused, self.error = False, None
        elif error.kind is DataSourceErrorKind.ERROR_RESPONSE:
            code = error.status_code
            self.refused, self.error = 400 <= code < 500 and code not in _RETRIED, f"HTTP {code}"
        else:
            self.refused, self.error = False, error.kind.name
        if self.working or self.error:
            self.settled.set()

    def close(self, again: Callable[[], bool]) -> None:
        """
        Close the client; blocks while it sends its last events.

        The stream of a client that is closed while it connects may run for ever. So the client is closed again each
        second while its stream runs and ``again()`` is true.
        """
        self.sdk.close()  # type: ignore[no-untyped-call]  # the SDK does not type it
        for _ in range(_CLOSINGS):
            stream = self._stream()
            if stream is None:
                return
            stream.join(_AGAIN)
            if not stream.is_alive():
                return
            self.sdk.close()  # type: ignore[no-untyped-call]  # the SDK does not type it
            if not again():
                return

    def _needs_no_stream(self) -> bool:
        """Return whether it works without a stream, or with a data source of the application's that is ready."""
        config = self.config
        if config.offline:
            return True
        if getattr(config, "datasystem_config", None) is not None:  # overrides the others
            return False
        own = config.update_processor_class is not None
        return bool(config.use_ldd or (own and self.sdk.is_initialized()))

    def _stream(self) -> threading.Thread | None:
        """Return the thread of the stream, if it runs and a second ``close()`` does no harm."""
        # With either of these, a second close() would close the application's store a second time.
        if getattr(self.config, "datasystem_config", None) is not None or self.config.big_segments.store is not None:
            return None
        found = (thread for thread in threading.enumerate() if getattr(thread, "_config", None) is self.config)
        return next(found, None)
