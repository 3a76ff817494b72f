"""``autoconfig emulate``: serve a stream, from a file or a built-in story."""

from __future__ import annotations

import argparse
import shlex
import threading
from collections.abc import Iterator
from datetime import datetime

from ..identifiers import mask
from ..testing import DEMO_KEY, Emulator
from .arguments import FILE, UsageError, add_reveal_option, checked_key, host, port, seconds
from .outcome import FAILURE, OK
from .output import complain, host_port, put_line, reader_is_gone
from .program import program
from .sources import FileSource, StorySource
from .wording import counted

SUMMARY = "play the service, from a file or with a built-in story"
DESCRIPTION = """\
Serve an auto-configuration stream on a port of this machine until Ctrl-C, to
try clients with. Without FILE a built-in story is played. FILE is JSON, and
followed when it changes:

  {"environments": {"ID": {"envKey": "test", "envName": "Test",
                           "projKey": "shop", "projName": "Shop",
                           "sdkKey": {"value": "sdk-..."},
                           "mobKey": "mob-...", "defaultTtl": 5}},
   "filters": {"ID": {"projKey": "shop", "key": "europe"}}}"""

DEFAULT_PORT = 8765
DEFAULT_INTERVAL = 4.0  # seconds: time to read what has changed
_CONNECTED = 200  # the status of an answer that is a stream


class Guests:
    """
    The clients of a service, as they come and leave.

    Args:
        service: The service.
    """

    def __init__(self, service: Emulator) -> None:
        self._service = service
        self._seen = 0  # requests
        self._inside = 0

    def new_lines(self) -> Iterator[str]:
        """Yield what has happened since the last call, in words."""
        requests, self._seen = self._service.requests_since(self._seen)
        for request in requests:
            if request.status == _CONNECTED:
                self._inside += 1
                yield "a client connected"
            else:
                yield f"a request was refused with status {request.status}"
        # Below zero if one came just now; it is told of the next time.
        left = max(0, self._inside - self._service.connections)
        if left:
            self._inside -= left
            yield f"{counted(left, 'client')} disconnected"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_reveal_option(parser)
    file = parser.add_argument("file", nargs="?", metavar="FILE", help="the configuration to serve")
    file.complete = FILE  # type: ignore[attr-defined]  # what shtab looks for
    parser.add_argument("--host", type=host, default="127.0.0.1", help="the address to listen on (default %(default)s)")
    parser.add_argument(
        "--port",
        type=port,
        default=DEFAULT_PORT,
        help="the port to listen on, 0 for any that is free (default %(default)s)",
    )
    parser.add_argument("--key", help="the auto-configuration key that clients must have (default: a made-up one)")
    parser.add_argument(
        "--interval",
        type=seconds,
        metavar="SECONDS",
        help=f"the time between two changes of the built-in story (default {DEFAULT_INTERVAL:g})",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes."""
    if options.file is not None and options.interval is not None:
        raise UsageError("--interval is for the built-in story, not for a FILE")
    key = DEMO_KEY if options.key is None else checked_key("--key", options.key)
    source = StorySource(options.interval or DEFAULT_INTERVAL) if options.file is None else FileSource(options.file)
    try:
        environments, filters = source.load()
    except ValueError as error:
        raise UsageError(f"{source.name}: {error}") from None
    service = Emulator(environments, filters, key=key, host=options.host, port=options.port)
    try:
        service.start()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        complain("emulate", f"cannot listen on {host_port(options.host, options.port)}: {reason}")
        return FAILURE
    try:
        _announce(service, source, secret=options.key is not None and not options.reveal)
        return _serve(service, source)
    finally:
        service.close()


def _announce(service: Emulator, source: StorySource | FileSource, *, secret: bool) -> None:
    put_line(f"Serving {source.name}, until Ctrl-C.")
    put_line(f"  URI  {service.uri}")
    put_line(f"  key  {mask(service.key) if secret else service.key}")
    put_line("Follow it in a second terminal:")
    follow = f"{program()} watch --uri {service.uri}"
    if secret:  # a masked key cannot be pasted; the variable is where the key should be anyway
        put_line(f"  AUTO_CONFIG_KEY=YOUR-KEY {follow}")
    else:
        put_line(f"  {follow} --key {shlex.quote(service.key)}")
    put_line("")


def _serve(service: Emulator, source: StorySource | FileSource) -> int:
    pause = threading.Event()
    guests = Guests(service)
    while not reader_is_gone():
        for text in guests.new_lines():
            _log(text)
        if change := source.advance(service):
            _log(change)
        pause.wait(source.glance)
    return OK


def _log(text: str) -> None:
    put_line(f"{datetime.now().astimezone():%H:%M:%S}  {text}")
