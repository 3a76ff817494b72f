"""Connections to the service for ``autoconfig doctor``, by the route that the client takes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from ..stream.cancel import CancelToken
from ..stream.failures import describe
from .findings import TroubleError, limited
from .output import printable
from .route import Route
from .sockets import TunnelError, connect, open_tunnel

_NO_ANSWER = "Is a firewall in the way? Does this network need a proxy (--proxy, HTTPS_PROXY)?"
_TUNNEL_FIXES = {
    407: "Give a user and a password in the proxy's URL: http://USER:PASSWORD@HOST:PORT (percent-encoded).",
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
        sock, _ = connect(self.addresses, self.route.first_hop[1], self.timeout)
        try:
            if self.has_tunnel:
                open_tunnel(sock, self.route)
        except BaseException:
            sock.close()
            raise
        return sock

    @contextmanager
    def connected(self) -> Iterator[tuple[socket.socket, list[str]]]:
        """
        Connect, limit the time that all in the block may take, and close the connection.

        The value is the connection, and the addresses that did not answer.

        Raises:
            TroubleError: There is none, or it took too long.
        """
        try:
            sock, silent = connect(self.addresses, self.route.first_hop[1], self.timeout)
        except OSError as error:
            reason = f"no answer within {self.timeout:g} s" if isinstance(error, TimeoutError) else describe(error)
            raise TroubleError(f"{self._shown_addresses()}: {reason}", _NO_ANSWER) from None
        token = CancelToken()
        with sock, limited(token, self.timeout, _NO_ANSWER):
            token.watch(sock.fileno())
            try:
                if self.has_tunnel:
                    open_tunnel(sock, self.route)
                yield sock, silent
            except TunnelError as error:
                raise self._no_tunnel(error.status) from None
            finally:
                token.release()

    def _shown_addresses(self) -> str:
        port = self.route.first_hop[1]
        return ", ".join(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in self.addresses)

    def _no_tunnel(self, status: int) -> TroubleError:
        target = f"{printable(self.route.host)}:{self.route.port}"
        if not status:
            return TroubleError("the proxy's answer is not HTTP", "Is this the address of an HTTP proxy?")
        fix = _TUNNEL_FIXES.get(status, "Ask those who run the proxy; it has to reach {target}.")
        text = f"the proxy refused a connection to {target} with status {status}"
        return TroubleError(text, fix.format(target=target), {"status": status})
