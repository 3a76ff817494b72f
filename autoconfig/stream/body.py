"""
The body of an answer: its bytes as they come, until a deadline.

A socket's own timeout restarts with each byte, so a trickle of bytes, in a header or in the size of a chunk, would keep
a dead connection alive for ever. So :class:`Answer` reads until a deadline, from every kind of socket: plain, TLS, TLS
within TLS, gevent's.

:class:`ChunkedBody` takes the chunks apart. ``read1()`` of ``http.client`` returns one chunk a call, and each call
gives the other threads a turn. So a burst of events, each in its own chunk, would take three times as long.
"""

from __future__ import annotations

import io
import math
import re
import time
from collections.abc import Callable, Iterator
from email.errors import FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect
from functools import partial
from http.client import HTTPResponse, IncompleteRead
from typing import Any

from ..exceptions import StreamEndedError
from .cancel import CancelToken
from .failures import ExplainedError, describe

READ = 120 * 1024
"""
How many bytes are read at most at a time.

Each read is a batch, and half as many bytes make a burst take a tenth more. From 128 KB on, malloc asks the system for
memory at each read, which takes 12 µs.
"""

_TOLERANCE = 0.01  # a socket's timeout may differ from the time that is left by this part of it
_MOST_INTERIM_ANSWERS = 100
_BAD_HEADERS = (FirstHeaderLineIsContinuationDefect, MissingHeaderBodySeparatorDefect)

# The line end of the chunk before, and the size of this one (RFC 9112, 7.1), whose extensions mean nothing.
_SIZE = re.compile(rb"\r?\n[ \t]*0*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n")
_PART_OF_SIZE = re.compile(rb"\r?(?:\n[ \t]*0*[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\n]*)?\r?)?")
_LONGEST_LINE = 8192  # bytes of a size with its extensions


class Deadline:
    """
    The time at which a connection counts as dead, unless it makes progress before.

    Args:
        seconds: How long it may be without progress.

    Attributes:
        at: When, in monotonic time.
        seconds: How long it may be without progress.
    """

    def __init__(self, seconds: float) -> None:
        self.at = math.inf
        self.seconds = seconds

    def renew(self) -> None:
        """Restart the time, because there was progress."""
        self.at = time.monotonic() + self.seconds


def pieces(raw: Any, deadline: Deadline, token: CancelToken, endless: bool) -> Iterator[bytes]:
    """
    Yield the bytes of a body as they come, until it ends or the token is cancelled.

    Args:
        raw: The response, as urllib3 has it.
        deadline: Is renewed at each complete line; in a file, whenever something comes.
        token: Ends it.
        endless: Whether the body has no regular end.

    Raises:
        StreamEndedError: The answer broke off, was silent for too long, or ended although it is endless.
    """
    deadline.renew()
    read = partial(raw.read1, decode_content=True)
    unfinished = 0  # bytes since the last sign of life
    while not token.cancelled:
        piece, reason = b"", "the service ended the stream" if endless else ""
        try:
            piece = read(READ)
        except Exception as error:  # urllib3's, http.client's, OSError, ValueError, AttributeError
            reason = describe(error)
        # A few bytes are not a sign of life, because a dead stream may trickle. Many bytes are: a large event on a slow
        # line. In a file any byte is, because a file has no lines, and comes to an end.
        unfinished += len(piece)
        if not endless or b"\n" in piece or b"\r" in piece or unfinished >= READ:
            deadline.renew()
            unfinished = 0
        elif time.monotonic() >= deadline.at:
            raise StreamEndedError(f"no complete line for {deadline.seconds:g} s")
        if not piece and reason:
            raise StreamEndedError(reason)
        if not piece:
            return
        yield piece


class Answer(HTTPResponse):
    """
    An answer that is read until a deadline. The headers are, too.

    Args:
        sock: The connection.
        deadline: When to give up reading. Its time starts again here: connecting and TLS have their own.
        arguments: As for the base class.
        options: As for the base class.
    """

    def __init__(self, sock: Any, *arguments: Any, deadline: Deadline, **options: Any) -> None:
        self._socket_reader = SocketReader(sock, deadline)
        deadline.renew()
        super().__init__(self._socket_reader, *arguments, **options)  # type: ignore[arg-type]

    def begin(self) -> None:
        """Read the headers. Interim answers are skipped; ``http.client`` skips those of status 100 only."""
        for _ in range(_MOST_INTERIM_ANSWERS + 1):
            self.headers = None  # type: ignore[assignment]  # else it does nothing
            super().begin()
            if not 100 <= self.status < 200 or self.status == 101:
                break
        else:
            raise ExplainedError("too many interim answers came before the answer")
        if self._socket_reader.ended:  # for http.client, that is the end of the headers
            raise ExplainedError("the connection broke off in the middle of the answer's headers")
        if any(isinstance(defect, _BAD_HEADERS) for defect in self.headers.defects):
            raise ExplainedError("a line of the answer's headers is not a header")
        if self.chunked:  # http.client's own method returns one chunk at a time
            self.read1 = ChunkedBody(self.fp.read1).read1  # type: ignore[assignment, method-assign]


class SocketReader(io.RawIOBase):
    """
    The bytes of a socket until a deadline; :class:`TimeoutError` then.

    Args:
        sock: The socket. Its own timeout bounds each read, too.
        deadline: When to give up.

    Attributes:
        ended: Whether the other side has closed the connection.
    """

    def __init__(self, sock: Any, deadline: Deadline) -> None:
        self.ended = False
        self._sock = sock
        self._deadline = deadline
        self._file = sock.makefile("rb", 0)  # keeps the descriptor open when http.client has closed the socket
        own = sock.gettimeout()
        self._own = self._timeout = math.inf if own is None else own

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return what ``http.client`` reads from, which takes this for a socket."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read. The socket's timeout is changed only in a trickle and after one, because that takes a system call."""
        allowed = min(self._deadline.at - time.monotonic(), self._own)
        if allowed <= 0:
            raise TimeoutError("the deadline has passed")
        if abs(allowed - self._timeout) > allowed * _TOLERANCE:
            self._sock.settimeout(allowed)
            self._timeout = allowed
        received = int(self._sock.recv_into(buffer))
        self.ended = not received
        return received

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return int(self._sock.fileno())

    def close(self) -> None:
        """Release the descriptor."""
        if not self.closed:
            self._file.close()
        super().close()


class ChunkedBody:
    """
    Takes chunks apart.

    Args:
        read: Returns the bytes of the connection after the headers, at most so many; waits only if there are none.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._pending = b"\n"  # the beginning of a size; as if a chunk had ended here
        self._left = 0  # bytes of the present chunk that are still to come
        self._ended = False
        self._broken = False  # the next call raises it, so that what came before is not lost

    def read1(self, size: int) -> bytes:
        """
        Return the bytes that are there, at most this many; wait only if there are none. ``b""`` is the regular end.

        Raises:
            IncompleteRead: The connection was closed inside the body, or the chunks are wrong.
            OSError: Reading failed.
        """
        found: list[bytes] = []
        while not found and not self._ended:
            more = b"" if self._broken else self._read(size)
            if not more:
                raise IncompleteRead(b"")
            data, place = self._pending + more, 0
            self._pending = b""
            while place < len(data) and not self._ended:
                if self._left:
                    found.append(data[place : place + self._left])
                    place += len(found[-1])
                    self._left -= len(found[-1])
                elif line := _SIZE.match(data, place):
                    place = line.end()
                    self._left = int(line[1], 16)
                    self._ended = not self._left  # it was the last chunk; trailers are ignored
                else:
                    self._pending = data[place:]
                    self._broken = len(self._pending) > _LONGEST_LINE or not _PART_OF_SIZE.fullmatch(self._pending)
                    break
        return b"".join(found)
