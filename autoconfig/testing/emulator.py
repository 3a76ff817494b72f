"""The service's side of the stream, in process: for demos, and for tests of programs that follow a stream."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Literal

from msgspec.structs import replace

from ..environments import KeyRep
from ..identifiers import EnvironmentID, FilterID, SDKKey, mask
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from .configuration import Configuration
from .demo import DEMO_KEY
from .server import StreamServer
from .streams import Streams


class Emulator(Streams):
    """
    Serves an auto-configuration stream on a loopback port: the environments it was given, then every change.

    Use it as a context manager, or call :meth:`start` and :meth:`close`. All methods may be called from any thread, and
    none waits for a client: a change is queued for each open stream before the method returns.

    An open stream takes a file descriptor and two threads. When the process has no more, new clients wait until others
    have left.

    Args:
        environments: The environments that exist at first. One whose keys contradict each other is served too, for
            tests of how clients refuse it.
        filters: The payload filters that exist at first, by id. Only clients that ask for protocol version 2 are told.
        key: The auto-configuration key that requests must have.
        host: The address to listen on.
        port: The port to listen on; 0 for any that is free.
        certificate: Files with a certificate chain and its private key, for https.
        heartbeat_interval: Seconds between two heartbeats of a stream. The real service sends one every 3 minutes.
        framing: ``"chunked"``, or ``"close"`` for streams that are not sent in chunks and end with the connection.

    Raises:
        ValueError: The heartbeat interval is not above zero, or the host cannot be a host's name or address.
        OSError: A certificate cannot be read; :class:`ssl.SSLError` if it is none.
    """

    def __init__(
        self,
        environments: Iterable[EnvironmentRep] = (),
        filters: Mapping[FilterID, FilterRep] | Mapping[str, FilterRep] | None = None,
        *,
        key: str = DEMO_KEY,
        host: str = "127.0.0.1",
        port: int = 0,
        certificate: tuple[str | os.PathLike[str], str | os.PathLike[str]] | None = None,
        heartbeat_interval: float = 180.0,
        framing: Literal["chunked", "close"] = "chunked",
    ) -> None:
        _check_host(host)
        self._configuration = Configuration()
        self._configuration.replace(environments, filters)
        super().__init__(key, heartbeat_interval, framing, self._configuration.put_event)
        self._host = host
        self._port = port
        self._context: ssl.SSLContext | None = None
        if certificate is not None:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate)
        self._lifecycle = threading.Lock()  # guards _server and _port
        self._server: StreamServer | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self._host}:{self._port}, key {mask(self.key)}>"

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
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
            self._server = StreamServer(self._handle, self._leave, self._host, self._port, self._context)
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
        """The base URI, to be given to a client. With port 0 there is none before the first start."""
        if not self._port:
            raise RuntimeError("the emulator was not started, so its port is not known")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._context else 'http'}://{host}:{self._port}"

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
        Add or replace an environment, and send the ``patch``.

        Returns:
            What was sent. A version that is not above that of the known (or deleted) environment becomes one above it.
        """
        with self._changed:
            rep = self._configuration.environments.set(rep.env_id, rep)
            self._broadcast(self._configuration.environments.patch(rep.env_id))
            return rep

    def delete_environment(self, env_id: EnvironmentID | str) -> None:
        """Delete an environment, and send the ``delete``. An unknown id is a ``KeyError``."""
        with self._changed:
            self._broadcast(self._configuration.environments.delete(EnvironmentID(env_id)))

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
            return self.set_environment(_rotated(rep, SDKKey(new_key), expiry))

    def set_filter(self, id: FilterID | str, rep: FilterRep) -> FilterRep:
        """
        Add or replace a payload filter, and send the ``patch`` to the clients that are told of filters.

        Returns:
            What was sent, with a version as :meth:`set_environment` chooses it.
        """
        with self._changed:
            rep = self._configuration.filters.set(FilterID(id), rep)
            self._broadcast(self._configuration.filters.patch(FilterID(id)), filters_only=True)
            return rep

    def delete_filter(self, id: FilterID | str) -> None:
        """Delete a payload filter, and send the ``delete``. An unknown id is a ``KeyError``."""
        with self._changed:
            self._broadcast(self._configuration.filters.delete(FilterID(id)), filters_only=True)

    def replace(
        self,
        environments: Iterable[EnvironmentRep],
        filters: Mapping[FilterID, FilterRep] | Mapping[str, FilterRep] | None = None,
    ) -> None:
        """
        Replace everything by the given environments and filters (``None``: no filter), and send a ``put``.

        What is as before keeps its version; the rest gets versions as :meth:`set_environment` chooses them.
        """
        with self._changed:
            self._configuration.replace(environments, filters)
            self.send_put()


def _rotated(rep: EnvironmentRep, new_key: SDKKey, expiry: int) -> EnvironmentRep:
    old_key = rep.sdk_key.value
    sdk_keys = rep.sdk_keys
    if sdk_keys:
        name = next((key.name for key in sdk_keys if key.value == old_key), "")
        others = (replace(key, expiry=expiry) if key.value == old_key else key for key in sdk_keys)
        sdk_keys = KeyRep(name, new_key), *(key for key in others if key.value != new_key)
    expiring = ExpiringKeyRep(old_key, expiry) if old_key else None
    return replace(rep, sdk_key=SDKKeyRep(new_key, expiring), sdk_keys=sdk_keys)


def _check_host(host: str) -> None:
    """Raise a ``ValueError`` that says what is wrong; what bind() raises for an impossible host explains nothing."""
    try:
        host.encode("idna")
        possible = "\0" not in host
    except UnicodeError:
        possible = False
    if not possible:
        raise ValueError("host: must be a host's name or address")
