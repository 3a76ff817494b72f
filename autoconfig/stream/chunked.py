"""
The body of a chunked response: each read returns everything that has come.

``read1()`` of ``http.client`` returns one chunk a call, and each call gives the other threads a turn. A burst of
events, each in a chunk of its own, would take three times as long.
"""

from __future__ import annotations

import re
from http.client import IncompleteRead
from typing import Protocol

_SIZE = rb"[ \t]*0*([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\n]*)?\r?\n"  # RFC 9112, 7.1; extensions mean nothing
_PART = rb"[ \t]*0*[0-9A-Fa-f]{0,16}[ \t]*(?:;[^\n]*)?\r?"  # what may become one
_FIRST, _FIRST_PART = re.compile(_SIZE), re.compile(_PART)
_NEXT = re.compile(rb"\r?\n" + _SIZE)  # the line end of the chunk before, and the size of this one
_NEXT_PART = re.compile(rb"\r?(?:\n" + _PART + rb")?")
_LONGEST_LINE = 8192  # bytes of a size with its extensions


class Source(Protocol):
    """The bytes of a connection."""

    def read1(self, size: int = ..., /) -> bytes:
        """Return what has come; wait only if nothing has."""


class ChunkedBody:
    """
    Takes chunks apart.

    Args:
        source: The bytes of the connection after the headers.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pending = b""  # the beginning of a size
        self._left = 0  # bytes of the present chunk that are still to come
        self._size, self._part = _FIRST, _FIRST_PART
        self._ended = False
        self._broken = False  # the next call raises it, so that what came before is not lost

    def read1(self, size: int) -> bytes:
        """
        Return what has come; wait only if nothing has. ``b""`` is the regular end.

        Args:
            size: How many bytes to read at most.

        Raises:
            IncompleteRead: The connection was closed inside the body, or the chunks are wrong.
            OSError: Reading failed.
        """
        while not self._ended:
            more = b"" if self._broken else self._source.read1(size)
            if not more:
                raise IncompleteRead(b"")
            if piece := self._take(self._pending + more):
                return piece
        return b""

    def _take(self, data: bytes) -> bytes:
        """Return the content of the data, and keep the beginning of a size at its end."""
        found: list[bytes] = []
        place = 0
        while True:
            if self._left:
                found.append(data[place : place + self._left])
                place += len(found[-1])
                self._left -= len(found[-1])
            if place == len(data):
                self._pending = b""
                break
            if not (size := self._size.match(data, place)):
                self._keep(data[place:])
                break
            self._size, self._part = _NEXT, _NEXT_PART
            place = size.end()
            self._left = int(size[1], 16)
            if not self._left:  # the last chunk; trailers are ignored
                self._ended = True
                break
        return b"".join(found)

    def _keep(self, part: bytes) -> None:
        self._broken = len(part) > _LONGEST_LINE or not self._part.fullmatch(part)
        self._pending = part
