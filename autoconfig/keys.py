"""Where the auto-configuration key comes from."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from pathlib import Path

from .identifiers import mask
from .validation import check_callable, check_header_value

KeySource = str | os.PathLike[str] | Callable[[], str]
"""The key itself, a file that holds it, or a function that returns it."""


class BadKeyError(ValueError, TypeError):
    """The source did not return a key. The text names the broken rule, and shows nothing of what was returned."""


def key_reader(source: KeySource) -> Callable[[], str]:
    """
    Return a function that returns the present key, checked.

    Raises:
        TypeError: The source is of another type.
        ValueError: It is a key that no header can carry. The function raises :class:`BadKeyError` for that, or whatever
            reading raises.
    """
    if isinstance(source, str):
        check_header_value("key", source)
        return lambda: source
    if isinstance(source, os.PathLike):
        path = Path(source).absolute()  # servers change their directory
        return lambda: _checked(text_of_key_file(path.read_bytes()))
    if callable(source):
        check_callable("key", source)
        return lambda: _checked(source())
    raise TypeError(f"key must be a string, a path or a function, not {type(source).__name__}")


def show_key(source: KeySource) -> str:
    """Return the source in a form that can be shown."""
    if isinstance(source, str):
        return mask(source)
    return f"the key in {os.fspath(source)!r}" if isinstance(source, os.PathLike) else "a key that is asked for"


def text_of_key_file(data: bytes) -> str:
    """Return what is in a file, without the byte order mark that some editors and shells write, and stripped."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if utf16 else "utf-8-sig").strip()


def _checked(key: str) -> str:
    try:
        check_header_value("key", key)
    except (TypeError, ValueError) as error:
        raise BadKeyError(str(error)) from None
    return key
