"""Writing to stdout and stderr: whole lines without secrets or escape sequences, and no error at a closed pipe."""

from __future__ import annotations

import json
import os
import re
import select
import stat
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from typing import TextIO

import click

from ..identifiers import mask_keys

# The scheme; then, unless an @ stands after the host, the user and password, the host and path, and what follows these.
_URI = re.compile(r"([a-z][a-z0-9+.-]*://)(?:(?:[^/?#]*@)?([^?#@]*)(?:[?#][^@]*)?\Z)?", re.IGNORECASE)
_MOST_HELD = 1000  # lines

_held: deque[str] | None = None  # lines for stderr that wait for the end of a full-screen table


class CommandError(Exception):
    """The command cannot go on."""

    def __init__(self, name: str, problem: str, fix: str = "", code: int = 1) -> None:
        super().__init__(f"{name}: {problem}")
        self.name, self.problem, self.fix, self.code = name, problem, fix, code


def put_line(text: str) -> None:
    """
    Write a line to stdout at once.

    Raises:
        BrokenPipeError: Nobody reads it any more.
        CommandError: It cannot be written for another reason.
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
        # The reader is gone, or a signal came while it was slow. The rest of the buffer would be written again at
        # exit, and fail or block there.
        silence(out)
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise CommandError("stdout", f"cannot be written: {error.strerror}", "check the disk or device") from None
        raise


def put_entry(verb: str, colour: str, text: str, margin: str = "") -> None:
    """Write a line that begins with the time of the day, or another margin, and a word in a colour."""
    put_line(f"{margin or clock()}  {painted(f'{verb:12}', colour)} {text}".rstrip())


def clock() -> str:
    """Return the time of the day."""
    return f"{datetime.now().astimezone():%H:%M:%S}"


def put_json(fields: Mapping[str, object]) -> None:
    """Write a JSON object as a line in UTF-8, whatever the encoding of stdout: JSON has no other."""
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    put_line(json.dumps(fields, ensure_ascii=False))


def put_record(**fields: object) -> None:
    """Write a JSON object of these fields and the time."""
    put_json({"time": timestamp(), **fields})


def timestamp(instant: datetime | None = None) -> str:
    """Return a time, by default now, as JSON lines have it: UTC, with milliseconds."""
    text = (instant or datetime.now(timezone.utc)).astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def complain(error: CommandError) -> None:
    """Write an error to stderr, and below it what to try next. What looks like a key is masked: it may be anywhere."""
    put_error(f"autoconfig: error: {harmless(str(error))}")
    if error.fix:
        put_error(f"  try: {harmless(error.fix)}")


def warn(name: str, text: str) -> None:
    """Write a warning to stderr."""
    put_error(f"autoconfig: warning: {harmless(f'{name}: {text}')}")


def put_error(text: str) -> None:
    """Write a line to stderr if somebody reads it; while errors are held, keep it for later."""
    err = sys.stderr
    if err is None:  # to print() that would mean stdout
        return
    if _held is not None:
        _held.append(text)
        return
    try:
        print(text, file=err, flush=True)
    except (OSError, ValueError):
        silence(err)


@contextmanager
def held_errors() -> Iterator[deque[str]]:
    """
    Keep what is written to stderr while the block runs, and write it at its end.

    If stderr is not a terminal, nothing is kept. The value is what is being kept, at most 1,000 lines.
    """
    global _held
    lines: deque[str] = deque(maxlen=_MOST_HELD)
    if sys.stderr is None or not sys.stderr.isatty():
        yield lines
        return
    _held = lines
    try:
        yield lines
    finally:
        _held = None
        for line in lines:
            put_error(line)


class _Stderr:
    def write(self, text: str) -> None:
        put_error(text.removesuffix("\n"))  # handlers of logging write the line end in the same call

    def flush(self) -> None:
        pass


@contextmanager
def library_logs(verbosity: int) -> Iterator[None]:
    """Write what the library logs to stderr while the block runs."""
    import logging

    log = logging.getLogger("autoconfig")
    handler = logging.StreamHandler(_Stderr()) if verbosity else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    handler.setLevel(logging.DEBUG if verbosity > 1 else logging.INFO)
    before = log.level
    log.addHandler(handler)
    log.setLevel(handler.level)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def silence(stream: TextIO) -> None:
    """Send all that is still written to a stream nowhere."""
    with suppress(OSError, ValueError):  # the stream is not a file, or is closed
        descriptor = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def reader_is_gone() -> bool:
    """Return whether stdout is a pipe or socket that nobody reads any more; this writes nothing."""
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


def painted(text: str, colour: str) -> str:
    """Return the text in a colour, or ``dim``; unchanged unless stdout is a terminal and ``NO_COLOR`` is not set."""
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, dim=True) if colour == "dim" else click.style(text, fg=colour)


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
