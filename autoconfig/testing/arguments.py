"""What the emulator is given: checked early, so that the error is the caller's and not a thread's."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

from ..identifiers import FilterID
from ..messages import FilterRep
from ..validation import is_header_name


def check_answer(status: int, headers: Mapping[Any, Any]) -> None:
    """
    Check that an answer can be sent.

    Raises:
        ValueError: The status or a header cannot be sent; the text names it and the rule.
    """
    if not 200 <= status <= 599:
        raise ValueError("status: must be from 200 to 599")
    for name, value in headers.items():
        if not isinstance(name, str) or not is_header_name(name):
            raise ValueError("headers: a name must be of ASCII letters, digits and hyphens")
        if not isinstance(value, str) or not _fits_in_a_line(value):
            raise ValueError(f"headers.{name}: must be a string of Latin-1 characters, with no line break")


def _fits_in_a_line(value: str) -> bool:
    return all(character <= "\xff" and character not in "\r\n\0" for character in value)


def check_host(host: str) -> None:
    """
    Check that the text may be a host's name or address; what bind() raises for an impossible one explains nothing.

    Raises:
        ValueError: It cannot be one.
    """
    try:
        host.encode("idna")
        possible = "\0" not in host
    except UnicodeError:
        possible = False
    if not possible:
        raise ValueError("host: must be a host's name or address")


def server_context(chain: str | os.PathLike[str], key: str | os.PathLike[str]) -> ssl.SSLContext:
    """Return a context for https; ``OSError`` if the files cannot be read, or do not hold what they should."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    return context


def by_filter_id(
    filters: Mapping[FilterID, FilterRep] | Mapping[str, FilterRep] | None,
) -> dict[FilterID, FilterRep]:
    """Return filters by ids of the type that is used inside."""
    return {FilterID(id): rep for id, rep in (filters or {}).items()}
