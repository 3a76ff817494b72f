"""One step of a connection at a time, for ``autoconfig doctor``: DNS, TCP, a proxy's tunnel."""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
import time

from .route import Route

_ANSWER = re.compile(rb"HTTP/1\.[01] (\d{3})")
_LONGEST_ANSWER = 65536  # bytes of a proxy's headers


class TunnelError(Exception):
    """
    A proxy did not open a tunnel.

    Attributes:
        status: The status of its answer; 0 if that is not HTTP.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def look_up(host: str, port: int, timeout: float) -> list[str]:
    """
    Return the addresses of a host.

    Raises:
        OSError: There are none. ``TimeoutError``, which is one, if it takes too long.
    """
    if is_address(host):
        return [host]
    found: list[str] = []
    failure: list[OSError] = []

    def ask() -> None:
        try:
            entries = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except OSError as error:
            failure.append(error)
        except UnicodeError:  # a name that IDNA cannot encode
            failure.append(OSError("not the name of a host"))

    # In a thread, because nothing else can bound it; one that hangs is a daemon and ends with the process.
    thread = threading.Thread(target=ask, name="autoconfig-doctor-dns", daemon=True)
    thread.start()
    thread.join(timeout)
    if failure:
        raise failure[0]
    if not found:
        raise TimeoutError
    return found


def is_address(host: str) -> bool:
    """Return whether a host is an address, and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def connect(addresses: list[str], port: int, timeout: float) -> tuple[socket.socket, str, list[str]]:
    """
    Return a connection to the first address that answers, that address, and those that did not.

    Raises:
        OSError: None does; it is the last one's error.
    """
    deadline = time.monotonic() + timeout
    silent: list[str] = []
    failure: OSError = TimeoutError()
    for address in addresses:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            return socket.create_connection((address, port), left), address, silent
        except OSError as error:
            failure = error
            silent.append(address)
    raise failure


def open_tunnel(sock: socket.socket, route: Route) -> None:
    """
    Have the proxy connect to the service.

    Raises:
        TunnelError: It does not.
        OSError: The connection broke, or was silent for too long.
    """
    sock.sendall(route.tunnel_request())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _LONGEST_ANSWER:
        piece = sock.recv(1)  # not a byte more: what follows belongs to TLS
        if not piece:
            break
        answer += piece
    found = _ANSWER.match(answer)
    status = int(found[1]) if found else 0
    if not 200 <= status < 300:
        raise TunnelError(status)
