"""Connections to the service for ``autoconfig doctor``, by the route that the client takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from ..stream.cancel import CancelToken
from ..stream.failures import describe
from .findings import PROXY_LOGIN, TroubleError, limited
from .output import host_port, printable
from .route import Route
from .sockets import TunnelError, connect, open_tunnel

_NO_ANSWER = "Is a firewall in the way? Does this network need a proxy (--proxy, HTTPS_PROXY)?"
_NO_PROXY = "Is this the address of an HTTP proxy?"
_TUNNEL_FIXES = {
    407: PROXY_LOGIN,
    403: "Ask those who run the proxy to allow connections to {target}.",
}


@attrs.frozen
class Hop:
    """
    The first host on the way, whose addresses are known.

    Attributes:
        route: The whole way.
        addresses: The addresses of the service or, if there is one, of the proxy.
        timeout: Seconds that an attempt may take.
    """

    route: Route
    addresses: list[str]
    timeout: float

    @property
    def has_tunnel(self) -> bool:
        """Whether a proxy is asked to connect to the service, and passes on what it does not understand."""
        return self.route.proxy_scheme == "http" and self.route.scheme == "https"

    def open(self) -> socket.socket:
        """
        Return a connection to the service.

        Raises:
            OSError: There is none.
            TunnelError: The proxy does not make it.
        """
        sock, *_ = connect(self.addresses, self.route.first_hop[1], self.timeout)
        try:
            if self.has_tunnel:
                open_tunnel(sock, self.route)
        except BaseException:
            sock.close()
            raise
        return sock

    @contextmanager
    def connected(self) -> Iterator[tuple[socket.socket, str, list[str]]]:
        """
        Connect, limit the time that all in the block may take, and close the connection.

        The value is the connection, the address that it leads to, and the addresses that did not answer.

        Raises:
            TroubleError: There is none, or it took too long.
        """
        try:
            sock, address, silent = connect(self.addresses, self.route.first_hop[1], self.timeout)
        except OSError as error:
            reason = f"no answer within {self.timeout:g} s" if isinstance(error, TimeoutError) else describe(error)
            raise TroubleError(f"{self._shown_addresses()}: {reason}", _NO_ANSWER) from None
        token = CancelToken()
        with sock:
            sock.settimeout(None)  # or it might come before limited(), whose error has a text for the user
            token.watch(sock.fileno())
            try:
                if self.has_tunnel:
                    with limited(token, self.timeout, _NO_PROXY, "the proxy did not answer"):
                        self._open_tunnel(sock)
                with limited(token, self.timeout, _NO_ANSWER):
                    yield sock, address, silent
            finally:
                token.release()

    def _shown_addresses(self) -> str:
        return ", ".join(host_port(address, self.route.first_hop[1]) for address in self.addresses)

    def _open_tunnel(self, sock: socket.socket) -> None:
        try:
            open_tunnel(sock, self.route)
        except TunnelError as error:
            raise self._no_tunnel(error.status) from None
        except OSError as error:  # a server that does not know CONNECT may just reset the connection
            raise TroubleError(f"the proxy broke the connection off: {describe(error)}", _NO_PROXY) from None

    def _no_tunnel(self, status: int) -> TroubleError:
        target = printable(host_port(self.route.host, self.route.port))
        if not status:
            return TroubleError("the proxy's answer is not HTTP", _NO_PROXY)
        fix = _TUNNEL_FIXES.get(status, "Ask those who run the proxy; it has to reach {target}.")
        text = f"the proxy refused a connection to {target} with status {status}"
        return TroubleError(text, fix.format(target=target), {"status": status})
