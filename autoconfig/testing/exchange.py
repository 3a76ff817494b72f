"""Requests as they are recorded, and answers as bytes."""

from __future__ import annotations

import http
from collections.abc import Mapping
from typing import NamedTuple

import attrs

from ..identifiers import mask

_SECRET_HEADERS = {"authorization", "proxy-authorization"}
_BODILESS = {204, 304}  # statuses whose answers have no body
_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}


def _masked(headers: Mapping[str, str]) -> str:
    return repr({name: mask(value) if name in _SECRET_HEADERS else value for name, value in headers.items()})


@attrs.frozen
class RecordedRequest:
    """
    A request that the emulator was sent.

    Attributes:
        method: The method.
        target: The target as it stood in the request line: path and query.
        headers: The headers by lower-cased name. The key is masked in the repr.
        status: The status of the answer; ``None`` while the request waits for the end of a stall.
    """

    method: str
    target: str
    headers: dict[str, str] = attrs.field(repr=_masked)
    status: int | None = None


@attrs.define(eq=False)
class Exchange:
    """
    A request and what becomes of it.

    Attributes:
        request: The request; replaced when its answer is known, so that copies that were handed out stay as they are.
    """

    request: RecordedRequest


class Refusal(NamedTuple):
    """An answer that is not an event stream."""

    status: int
    headers: Mapping[str, str]


def head_bytes(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a status line and headers."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def refusal_bytes(refusal: Refusal, persistent: bool, head_only: bool = False) -> bytes:
    """Return a whole answer that is not an event stream."""
    bodiless = refusal.status in _BODILESS
    body = b"" if bodiless else b"status %d\n" % refusal.status
    headers = {} if bodiless else {"Content-Type": "text/plain", "Content-Length": str(len(body))}
    if not persistent:
        headers["Connection"] = "close"
    return head_bytes(refusal.status, headers | dict(refusal.headers)) + (b"" if head_only else body)
