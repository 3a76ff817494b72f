"""The service's side of the stream, in process: for demos, and for the tests of what uses the stream."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Literal

from ..identifiers import EnvironmentID, FilterID, SDKKey, mask
from ..messages import EnvironmentRep, FilterRep
from .arguments import by_filter_id, check_host, server_context
from .configuration import Configuration
from .controls import StreamControls
from .server import StreamServer
from .service import Service
from .wire import delete_event, environment_json, filter_json, patch_event

DEMO_KEY = "rel-5f3a1c9e-7d42-4b8e-9c61-2f0d8a4b7e13"
"""The key that an emulator accepts if it is given no other."""


class Emulator(StreamControls):
    """
    Serves an auto-configuration stream on a loopback port: the environments it was given, then every change.

    Use it as a context manager, or call :meth:`start` and :meth:`close`. All methods may be called from any thread, and
    none waits for a client: a change is queued for each open stream before the method returns.

    An open stream takes four file descriptors. When the process has no more, new clients wait until others have left.

    Args:
        environments: The environments that exist at first.
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
        if not heartbeat_interval > 0:
            raise ValueError("heartbeat_interval: must be above zero")
        check_host(host)
        self._configuration = Configuration()
        self._configuration.replace(environments, by_filter_id(filters))
        super().__init__(
            Service(
                key,
                chunked=framing == "chunked",
                heartbeat_interval=heartbeat_interval,
                put_event=self._configuration.put_event,
            )
        )
        self._host = host
        self._port = port
        self._context = None if certificate is None else server_context(*certificate)
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
        Begin to listen; clients can connect as soon as this returns.

        After :meth:`close` it listens again, on the same port and with the same state, like a service that was down.

        Raises:
            OSError: The address cannot be listened on.
            RuntimeError: The emulator is running.
        """
        with self._lifecycle:
            if self._server is not None:
                raise RuntimeError("the emulator is running")
            self._server = StreamServer(self._service, self._host, self._port, self._context)
            self._port = self._server.server_port

    def close(self) -> None:
        """
        End every connection in the middle of its answer, and stop listening.

        Returns once all threads have ended, which takes milliseconds in every state. Calls after the first do nothing.
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
        with self._service.changed:
            return dict(self._configuration.environments.items)

    @property
    def filters(self) -> dict[FilterID, FilterRep]:
        """A copy of the payload filters as they are now, by id."""
        with self._service.changed:
            return dict(self._configuration.filters.items)

    def set_environment(self, rep: EnvironmentRep) -> EnvironmentRep:
        """
        Add or replace an environment, and send the ``patch``.

        Returns:
            What was sent. A version that is not above that of the known (or deleted) environment becomes one above it.
        """
        with self._service.changed:
            return self._send_environment(self._configuration.environments.set(rep.env_id, rep))

    def delete_environment(self, env_id: EnvironmentID | str) -> None:
        """Delete an environment, and send the ``delete``. An unknown id is a ``KeyError``."""
        with self._service.changed:
            version = self._configuration.environments.delete(EnvironmentID(env_id))
            self._service.broadcast(delete_event(f"/environments/{env_id}", version))

    def rotate_sdk_key(
        self, env_id: EnvironmentID | str, new_key: SDKKey | str, grace: timedelta = timedelta(hours=1)
    ) -> EnvironmentRep:
        """
        Give an environment a new SDK key, and send the ``patch``.

        The old key becomes the expiring one, until the grace period is over. An unknown id is a ``KeyError``.

        Returns:
            What was sent.
        """
        with self._service.changed:
            rep = self._configuration.rotate_sdk_key(EnvironmentID(env_id), SDKKey(new_key), grace)
            return self._send_environment(rep)

    def set_filter(self, id: FilterID | str, rep: FilterRep) -> FilterRep:
        """
        Add or replace a payload filter, and send the ``patch`` to the streams that are told of filters.

        Returns:
            What was sent, with a version as :meth:`set_environment` chooses it.
        """
        with self._service.changed:
            rep = self._configuration.filters.set(FilterID(id), rep)
            self._service.broadcast(patch_event(f"/filters/{id}", filter_json(rep)), filters_only=True)
            return rep

    def delete_filter(self, id: FilterID | str) -> None:
        """Delete a payload filter, and send the ``delete``. An unknown id is a ``KeyError``."""
        with self._service.changed:
            version = self._configuration.filters.delete(FilterID(id))
            self._service.broadcast(delete_event(f"/filters/{id}", version), filters_only=True)

    def replace(
        self,
        environments: Iterable[EnvironmentRep],
        filters: Mapping[FilterID, FilterRep] | Mapping[str, FilterRep] | None = None,
    ) -> None:
        """
        Have exactly the given environments and filters (``None``: no filter), and send it all as a ``put``.

        What is as before keeps its version; the rest gets versions as :meth:`set_environment` chooses them.
        """
        with self._service.changed:
            self._configuration.replace(environments, by_filter_id(filters))
            self._service.broadcast_put()

    def _send_environment(self, rep: EnvironmentRep) -> EnvironmentRep:
        self._service.broadcast(patch_event(f"/environments/{rep.env_id}", environment_json(rep)))
        return rep
