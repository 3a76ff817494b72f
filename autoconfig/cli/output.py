"""How the command writes: harmless lines, to readers that may leave, with colours where they are wanted."""

from __future__ import annotations

import os
import re
import select
import stat
import sys
from contextlib import suppress
from typing import TextIO

from ..identifiers import mask_keys

_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
# The scheme; then, unless an @ stands after the host, the user and password, the host and path, and what follows these.
_URI = re.compile(r"([a-z][a-z0-9+.-]*://)(?:(?:[^/?#]*@)?([^?#@]*)(?:[?#][^@]*)?\Z)?", re.IGNORECASE)


class OutputError(Exception):
    """Stdout cannot be written to. The text is for the user."""


def put_line(text: str) -> None:
    """
    Write a line to stdout, at once.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        OutputError: It cannot be written for another reason.
    """
    out = sys.stdout
    if out is None:  # closed by the caller: `>&-`
        return
    try:
        encoding = out.encoding or "utf-8"
        # Escaped where the encoding has no such character, which includes half of a surrogate pair.
        out.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))
        out.flush()
    except BaseException as error:
        # The reader is gone, or a signal came while it was slow. What is left in the buffer would be tried again at
        # exit, and fail or block there.
        silence(out)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise OutputError(f"cannot write: {error.strerror}") from None
        raise


def complain(command: str, text: str) -> None:
    """Write one line about what is wrong to stderr, with what looks like a key masked: it may stand anywhere."""
    put_error(f"autoconfig {command}: {harmless(text)}")


def put_error(text: str) -> None:
    """Write a line to stderr, if somebody reads it."""
    err = sys.stderr
    if err is None:  # to print() that would mean stdout
        return
    try:
        print(text, file=err, flush=True)
    except OSError:
        silence(err)


def silence(stream: TextIO) -> None:
    """Have all that is still written to a stream go nowhere."""
    with suppress(OSError, ValueError):  # it is no file, or closed
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def reader_is_gone() -> bool:
    """Return whether stdout is a pipe or socket that nobody reads any more; nothing has to be written to learn it."""
    try:
        descriptor = sys.stdout.fileno()
        kind = os.fstat(descriptor).st_mode
    except (OSError, ValueError, AttributeError):  # no file, closed, or no stdout at all
        return False
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)  # errors and hang-ups are reported in any case
    return bool(poll.poll(0))


def is_terminal() -> bool:
    """Return whether stdout is a terminal that understands more than lines of text."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def has_colour() -> bool:
    """Return whether stdout is to have colours: on terminals, unless ``NO_COLOR`` is set (https://no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def painted(text: str, *styles: str) -> str:
    """Return the text with the escape sequences for the styles around it."""
    return f"\x1b[{';'.join(_STYLES[style] for style in styles)}m{text}\x1b[0m" if styles else text


def printable(text: str) -> str:
    """Return the text with its line breaks, escape sequences and the like made visible, and harmless."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def harmless(text: str) -> str:
    """Return the text printable, and with everything masked that looks like a key."""
    return printable(mask_keys(text))


def shown_uri(uri: str) -> str:
    """
    Return a URI without what may be secret in it: user, password, query and fragment.

    After the host, an @ may be the end of a password that is not percent-encoded; then only the scheme is shown.
    """
    found = _URI.match(uri)
    if found is None:
        return "…"
    return printable(f"{found[1]}{'…' if found[2] is None else found[2]}")


def host_port(host: str, port: int) -> str:
    """Return a host and port as they stand in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
