"""The service's side of the stream, in process: for demos, and for tests of programs that follow a stream."""

from __future__ import annotations

import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Literal

from ..identifiers import EnvironmentID, FilterID, SDKKey, mask
from ..messages import PATCH_EVENT, RECONNECT_EVENT, EnvironmentRep, FilterRep
from .configuration import Configuration, Filters, rotated
from .exchange import HEARTBEAT, End, Exchange, RecordedRequest, check_stream, event_bytes
from .server import StreamServer, check_answer, check_host, tls_context

DEMO_KEY = "rel-5f3a1c9e-7d42-4b8e-9c61-2f0d8a4b7e13"
"""The key that an emulator accepts if it is given no other."""

_STREAM_PATH = "/relay_auto_config"
_WITH_FILTERS = re.compile(r"0*(?:[2-9]|[1-9][0-9]+)")  # values of rpacProtocolVersion
_KEPT = 10_000  # requests; an emulator may run for weeks


class Emulator:
    """
    Serves an auto-configuration stream on a loopback port: the environments it was given, then every change.

    Use it as a context manager, or call :meth:`start` and :meth:`close`. All methods may be called from any thread, and
    none waits for a client: a change is queued for each open stream before the method returns.

    An open stream takes a file descriptor and two threads. When the process has no more, new clients wait until others
    have left.

    Args:
        environments: The environments that exist at first. One whose keys contradict each other is served too, for
            tests of how clients refuse it.
        filters: The payload filters that exist at first, by id. Only clients that ask for protocol version 2 get them.
        key: The auto-configuration key that requests must have.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        certificate: Files with a certificate chain and its private key, for https.
        heartbeat_interval: Seconds between two heartbeats of a stream. The real service sends one every 3 minutes.
        framing: ``"chunked"``, or ``"close"`` for streams that are not sent in chunks and end with the connection.

    Raises:
        ValueError: The heartbeat interval is not above zero, the framing is another word, the host cannot be a host's
            name or address, or a field of an environment or filter has the wrong type.
        OSError: A certificate cannot be read; :class:`ssl.SSLError` if it is none.
    """

    def __init__(
        self,
        environments: Iterable[EnvironmentRep] = (),
        filters: Filters | None = None,
        *,
        key: str = DEMO_KEY,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        heartbeat_interval: float = 180.0,
        framing: Literal["chunked", "close"] = "chunked",
    ) -> None:
        check_host(host)
        check_stream(heartbeat_interval, framing)
        self._host, self._port = host, port
        self._context = certificate and tls_context(*certificate)
        self._lifecycle = threading.Lock()  # guards _server and _port
        self._server: StreamServer | None = None
        # Guards the rest, the configuration included, so that no change falls between a stream's put and its patches.
        # Notified when requests or streams come or go.
        self._changed = threading.Condition()
        self._configuration = Configuration(environments, filters)
        self._key = key
        chunked = framing == "chunked"
        self._begin_stream = partial(Exchange.begin_stream, chunked=chunked, heartbeat_interval=heartbeat_interval)
        self._requests: deque[RecordedRequest] = deque(maxlen=_KEPT)
        self._request_count = 0
        self._streams: dict[Exchange, bool] = {}  # the open ones, and whether the client gets filters
        self._failures: deque[tuple[int, Mapping[str, str]]] = deque()
        self._stalled = False
        self._waiting: dict[Exchange, Callable[[], None]] = {}  # what is to be done at the end of the stall

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._host}:{self._port}, key {mask(self.key)}>"

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """
        Start to listen; clients can connect as soon as this returns.

        After :meth:`close` it listens again, on the same port and with the same state, like a service that was down.

        Raises:
            OSError: The address cannot be listened on.
            RuntimeError: The emulator is running.
        """
        with self._lifecycle:
            if self._server is not None:
                raise RuntimeError("the emulator is running")
            self._server = StreamServer(
                self._handle, self._leave, self._host, self._port, self._context, name="autoconfig-emulator"
            )
            self._port = self._server.port

    def close(self) -> None:
        """
        End every connection in the middle of its answer, and stop listening.

        Returns when all threads have ended, which takes milliseconds in every state. Calls after the first do nothing.
        """
        with self._lifecycle:
            server, self._server = self._server, None
            if server is not None:
                server.close()

    @property
    def uri(self) -> str:
        """The base URI for a client. With port 0 there is none before the first start."""
        if not self._port:
            raise RuntimeError("the emulator was not started, so its port is not known")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._context else 'http'}://{host}:{self._port}"

    @property
    def key(self) -> str:
        """The auto-configuration key that the next request must have. Open streams stay open when it is set."""
        return self._key

    @key.setter
    def key(self, key: str) -> None:
        with self._changed:
            self._key = key

    @property
    def environments(self) -> dict[EnvironmentID, EnvironmentRep]:
        """A copy of the environments as they are now, by id."""
        with self._changed:
            return dict(self._configuration.environments.reps)

    @property
    def filters(self) -> dict[FilterID, FilterRep]:
        """A copy of the payload filters as they are now, by id."""
        with self._changed:
            return dict(self._configuration.filters.reps)

    def set_environment(self, rep: EnvironmentRep) -> EnvironmentRep:
        """
        Add or replace an environment, and send the ``patch``. A field of the wrong type is a ``ValueError``.

        Returns:
            What was sent. A version that is not above that of the known (or deleted) environment becomes one above it.
        """
        with self._changed:
            rep = self._configuration.set_environment(rep)
            self.send_raw(self._configuration.environments.patch(rep.env_id))
            return rep

    def delete_environment(self, env_id: EnvironmentID | str) -> None:
        """Delete an environment, and send the ``delete``. An unknown id is a ``KeyError``."""
        with self._changed:
            self.send_raw(self._configuration.environments.delete(EnvironmentID(env_id)))

    def rotate_sdk_key(
        self, env_id: EnvironmentID | str, new_key: SDKKey | str, grace: timedelta = timedelta(hours=1)
    ) -> EnvironmentRep:
        """
        Give an environment a new SDK key, and send the ``patch``. An unknown id is a ``KeyError``.

        The old key expires when the grace period is over. If the environment lists its SDK keys, the list changes too.

        Returns:
            What was sent.
        """
        with self._changed:
            rep = self._configuration.environments.reps[EnvironmentID(env_id)]
            expiry = time.time_ns() // 1_000_000 + grace // timedelta(milliseconds=1)
            return self.set_environment(rotated(rep, SDKKey(new_key), expiry))

    def set_filter(self, id: FilterID | str, rep: FilterRep) -> FilterRep:
        """
        Add or replace a payload filter, and send the ``patch`` to the clients that get filters.

        Returns:
            What was sent, with a version as :meth:`set_environment` chooses it.
        """
        with self._changed:
            rep = self._configuration.set_filter(FilterID(id), rep)
            self._send_of_filters(self._configuration.filters.patch(FilterID(id)))
            return rep

    def delete_filter(self, id: FilterID | str) -> None:
        """Delete a payload filter, and send the ``delete``. An unknown id is a ``KeyError``."""
        with self._changed:
            self._send_of_filters(self._configuration.filters.delete(FilterID(id)))

    def replace(self, environments: Iterable[EnvironmentRep], filters: Filters | None = None) -> None:
        """
        Replace everything by the given environments and filters (``None``: no filter), and send a ``put``.

        An unchanged item keeps its version; the others get versions as in :meth:`set_environment`.
        """
        with self._changed:
            self._configuration.replace(environments, filters)
            self.send_put()

    def send_put(self) -> None:
        """Send the full configuration again."""
        with self._changed:
            for stream, with_filters in self._streams.items():
                stream.send(self._configuration.put_event(with_filters))

    def send_reconnect(self) -> None:
        """Ask the clients to connect again. Their streams stay open until they do."""
        self.send_event(RECONNECT_EVENT, "{}")

    def send_heartbeat(self) -> None:
        """Send a heartbeat now, in addition to the regular ones."""
        self.send_raw(HEARTBEAT)

    def send_malformed(self) -> None:
        """Send a ``patch`` whose data is not JSON."""
        self.send_event(PATCH_EVENT, '{"path": "/environments/')

    def send_event(self, name: str, data: str) -> None:
        """Send any event. A name of more than one line is a ``ValueError``."""
        self.send_raw(event_bytes(name, data))

    def send_raw(self, data: bytes) -> None:
        """Send bytes, which need not be a whole event."""
        with self._changed:
            for stream in self._streams:
                stream.send(data)

    def fail_next(self, status: int, times: int = 1, headers: Mapping[str, str] | None = None) -> None:
        """
        Answer the next requests to the stream with a status instead, with any key.

        The answers of a further call come after those of earlier calls.

        Args:
            status: The status. Even 200 is a failure: the body is a line of plain text.
            times: How many requests get this answer.
            headers: Headers of the answers, such as ``Location`` for a redirect.

        Raises:
            ValueError: The status is not from 200 to 599, or HTTP cannot carry a header.
        """
        headers = dict(headers or {})
        check_answer(status, headers)
        with self._changed:
            self._failures.extend([(status, headers)] * times)

    def drop_connections(self, how: End = "abrupt") -> int:
        """
        End every open stream; return how many there were.

        Args:
            how: ``"eof"`` ends it regularly, after everything that was sent before; during a stall that is after
                :meth:`resume`. ``"abrupt"`` closes the connection in the middle of the answer, and ``"reset"`` does so
                with a TCP RST; both may lose what was sent just before.
        """
        if how not in ("eof", "abrupt", "reset"):
            raise ValueError(f"how: must be 'eof', 'abrupt' or 'reset', not {how!r}")
        with self._changed:
            streams, self._streams = self._streams, {}
            for stream in streams:
                if how == "eof":
                    stream.end()
                else:
                    stream.drop(how)
            self._changed.notify_all()
        return len(streams)

    def stall(self) -> None:
        """
        Send nothing, as a service that hangs: new requests get no answer, open streams get no events and no heartbeats.

        Connections are still accepted.
        """
        with self._changed:
            self._stalled = True
            for stream in self._streams:
                stream.pause()
                self._waiting[stream] = stream.resume

    def resume(self) -> None:
        """End a :meth:`stall`: open streams get the events that were held back; waiting requests are answered."""
        with self._changed:
            self._stalled = False
            waiting, self._waiting = self._waiting, {}
            for go_on in waiting.values():
                go_on()
            self._changed.notify_all()

    @property
    def requests(self) -> list[RecordedRequest]:
        """All requests so far, as a copy of the list. Only the 10,000 newest are kept."""
        return self.requests_since(0)[0]

    @property
    def request_count(self) -> int:
        """How many requests have come so far, also those that :attr:`requests` has dropped."""
        with self._changed:
            return self._request_count

    def requests_since(self, count: int) -> tuple[list[RecordedRequest], int]:
        """
        Return the requests after the first ``count``, and :attr:`request_count`, the argument of the next call.

        Only the 10,000 newest requests are kept.
        """
        with self._changed:
            new = min(self._request_count - count, len(self._requests))
            return [*islice(reversed(self._requests), max(0, new))][::-1], self._request_count

    @property
    def connections(self) -> int:
        """How many streams are open. One that was dropped, or whose client has left, is not."""
        with self._changed:
            return len(self._streams)

    def wait_for_connections(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until exactly this many streams are open.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._streams) == count, timeout):
                found = len(self._streams)
                raise TimeoutError(f"the emulator had {found} open streams after {timeout:g} s, not {count}")

    def wait_for_requests(self, count: int, timeout: float = 5.0) -> None:
        """
        Wait until at least this many requests have come since the emulator was made, answered or not.

        Raises:
            TimeoutError: It took longer than the timeout, in seconds.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._request_count >= count, timeout):
                found = self._request_count
                raise TimeoutError(f"the emulator had {found} requests after {timeout:g} s, not {count}")

    def _send_of_filters(self, event: bytes) -> None:
        for stream, with_filters in self._streams.items():
            if with_filters:
                stream.send(event)

    def _handle(self, exchange: Exchange) -> None:
        """Answer a request, now or at the end of the stall."""
        with self._changed:
            self._requests.append(exchange.request)
            self._request_count += 1
            if self._stalled:
                self._waiting[exchange] = partial(self._answer, exchange)
            else:
                self._answer(exchange)
            self._changed.notify_all()

    def _answer(self, exchange: Exchange) -> None:
        if not exchange.path.endswith(_STREAM_PATH):
            exchange.respond(404)
        elif exchange.request.method != "GET":
            exchange.respond(405, {"Allow": "GET"})
        elif self._failures:
            exchange.respond(*self._failures.popleft())
        elif exchange.request.headers.get("authorization") != self._key:
            exchange.respond(401)
        else:
            versions = exchange.query.get("rpacProtocolVersion", [])
            with_filters = any(_WITH_FILTERS.fullmatch(version) for version in versions)
            self._begin_stream(exchange)
            exchange.send(self._configuration.put_event(with_filters))
            self._streams[exchange] = with_filters

    def _leave(self, exchange: Exchange) -> None:
        """Forget a request: its answer has ended, or its client has left."""
        with self._changed:
            self._waiting.pop(exchange, None)
            self._streams.pop(exchange, None)
            self._changed.notify_all()
