"""The part of the emulator that deals with the streams themselves: what is sent, when, and what goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .answer import HEARTBEAT, End
from .arguments import check_answer
from .exchange import RecordedRequest, Refusal
from .service import Service
from .wire import event_bytes


class StreamControls:
    """Everything about the streams but the configuration that they carry."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def key(self) -> str:
        """The auto-configuration key that the next request must have. Setting it leaves open streams alone."""
        return self._service.key

    @key.setter
    def key(self, key: str) -> None:
        with self._service.changed:
            self._service.key = key

    @property
    def requests(self) -> list[RecordedRequest]:
        """A copy of the list of the requests so far, whatever their answer; of many, the 10,000 newest ones."""
        return self._service.requests_since(0)[0]

    @property
    def request_count(self) -> int:
        """How many requests have come so far, also those that :attr:`requests` does not hold any more."""
        with self._service.changed:
            return self._service.request_count

    def requests_since(self, count: int) -> tuple[list[RecordedRequest], int]:
        """
        Return the requests that have come after the first so many, and :attr:`request_count` at that moment.

        So the next call can ask for those after that number. Of requests older than the 10,000 newest ones there is no
        record any more.
        """
        return self._service.requests_since(count)

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

        Further calls add to what is still to come.

        Args:
            status: The status. Even 200 is a failure: the body is a line of plain text.
            times: How many requests are answered so.
            headers: Headers of the answers, such as a redirect's ``Location``.

        Raises:
            ValueError: The status is not from 200 to 599, or HTTP cannot carry a header.
        """
        headers = dict(headers or {})
        check_answer(status, headers)
        self._service.fail_next(Refusal(status, headers), times)

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
        self._wait(lambda: len(self._service.streams), lambda now: now == count, count, "open streams", timeout)

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until at least so many requests have come, from the start on; they need not have been answered.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        self._wait(lambda: self._service.request_count, lambda now: now >= count, count, "requests", timeout)

    def _wait(
        self, number: Callable[[], int], enough: Callable[[int], bool], count: int, what: str, timeout: float
    ) -> None:
        with self._service.changed:
            if not self._service.changed.wait_for(lambda: enough(number()), timeout):
                raise TimeoutError(f"the emulator had {number()} {what} after {timeout:g} s, not {count}")
