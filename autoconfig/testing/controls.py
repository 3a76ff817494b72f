"""The part of the emulator that deals with the streams themselves: what is sent, when, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .answer import HEARTBEAT, End
from .exchange import RecordedRequest, Refusal
from .service import Service
from .wire import event_bytes


class StreamControls:
    """Everything about the streams but the configuration that they carry."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def key(self) -> str:
        """The auto-configuration key that the next request must have. To set it leaves open streams as they are."""
        return self._service.key

    @key.setter
    def key(self, key: str) -> None:
        with self._service.changed:
            self._service.key = key

    @property
    def requests(self) -> list[RecordedRequest]:
        """A copy of the list of all requests that have come so far, whatever their answer."""
        with self._service.changed:
            return list(self._service.requests)

    @property
    def connections(self) -> int:
        """How many streams are open. One that was dropped, or whose client has left, is not."""
        with self._service.changed:
            return len(self._service.streams)

    def send_put(self) -> None:
        """Send everything again."""
        self._service.broadcast_put()

    def send_reconnect(self) -> None:
        """Ask the clients to connect again. The streams stay open until they do."""
        self.send_event("reconnect", "{}")

    def send_heartbeat(self) -> None:
        """Send a heartbeat now, besides the regular ones."""
        self._service.broadcast(HEARTBEAT)

    def send_malformed(self) -> None:
        """Send a ``patch`` whose data is not JSON."""
        self.send_event("patch", '{"path": "/environments/')

    def send_event(self, name: str, data: str) -> None:
        """Send any event. A name of more than one line is a ``ValueError``."""
        self._service.broadcast(event_bytes(name, data))

    def send_raw(self, data: bytes) -> None:
        """Send bytes that need not be an event, or that are only a part of one."""
        self._service.broadcast(data)

    def fail_next(self, status: int, times: int = 1, headers: Mapping[str, str] | None = None) -> None:
        """
        Answer the next requests to the stream with a status instead, whatever their key.

        Further calls add to what is still to come. A status outside 200 to 599 is a ``ValueError``.

        Args:
            status: The status. Even 200 is a failure: the body is a line of plain text.
            times: How many requests are answered so.
            headers: Headers of the answers, such as a redirect's ``Location``.
        """
        if not 200 <= status <= 599:
            raise ValueError("status: must be from 200 to 599")
        self._service.fail_next(Refusal(status, dict(headers or {})), times)

    def drop_connections(self, how: End = "abrupt") -> int:
        """
        End every open stream; return how many there were.

        Args:
            how: ``"eof"`` ends it as HTTP has it, after what was sent before; during a stall that is after
                :meth:`resume`. ``"abrupt"`` closes the connection in the middle of the answer, ``"reset"`` does so
                with a TCP RST; both may lose what was sent just before.
        """
        return self._service.drop(how)

    def stall(self) -> None:
        """
        Fall silent, as a service that hangs: new requests get no answer, open streams get nothing, not even heartbeats.

        Connections are still accepted.
        """
        self._service.stall()

    def resume(self) -> None:
        """Go on after :meth:`stall`: open streams get what was held back, in order; waiting requests are answered."""
        self._service.resume()

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until exactly so many streams are open.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        self._wait(lambda: len(self._service.streams), lambda now: now == count, f"{count} open streams", timeout)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until at least so many requests have come, from the start on; they need not have been answered.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        self._wait(lambda: len(self._service.requests), lambda now: now >= count, f"{count} requests", timeout)

    def _wait(self, number: Callable[[], int], enough: Callable[[int], bool], wanted: str, timeout: float) -> None:
        with self._service.changed:
            if not self._service.changed.wait_for(lambda: enough(number()), timeout):
                raise TimeoutError(f"waited {timeout} s for {wanted} of the emulator; there are {number()}")
