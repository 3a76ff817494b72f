"""``autoconfig emulate``: the service's side of the stream, from a file or with a built-in story."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from msgspec.structs import replace

from ..identifiers import FilterID, mask
from ..messages import EnvironmentRep, FilterRep
from ..testing import DEMO_KEY, Emulator, configuration_from_json
from . import OK, USAGE
from .demo import ENVIRONMENTS, FILTERS, endless_changes
from .output import CommandError, clock, harmless, host_port, printable, put_line, reader_is_gone, warn
from .words import counted, totals

_CONNECTED = 200  # the status of an answer that is a stream
_GLANCE = 0.5  # seconds between two looks at the file; also how late a line about a client may come
# The version of items that have none. It grows from run to run, so that clients of an earlier run take the items for
# newer, and not for old messages.
_VERSION = time.time_ns() // 1_000_000

Configuration = tuple[Sequence[EnvironmentRep], Mapping[FilterID, FilterRep]]


def run(*, file: str | None, host: str, port: int, key: str | None, interval: float, reveal: bool) -> int:
    """Serve until a signal comes."""
    source = StorySource(interval) if file is None else FileSource(file)
    try:
        environments, filters = source.load()
    except ValueError as error:
        fix = "give what `autoconfig snapshot --json --reveal` prints; autoconfig emulate --help shows the form"
        raise CommandError(source.name, str(error), fix, USAGE) from None
    service = Emulator(environments, filters, key=DEMO_KEY if key is None else key, host=host, port=port)
    try:
        socket.getaddrinfo(host, port)  # only for its own words: below, its number looks like one of errno
        service.start()
    except socket.gaierror as error:
        problem = f"cannot look up {printable(host)}: {error.strerror}"
        raise CommandError("--host", problem, "--host 127.0.0.1") from None
    except OSError as error:
        problem = f"cannot listen on {host_port(host, port)}: {os.strerror(error.errno or 0)}"
        raise CommandError("--port", problem, "--port 0, which takes a free one") from None
    try:
        _announce(service, source.name, secret=key is not None and not reveal)
        return _serve(service, source)
    finally:
        service.close()


def _announce(service: Emulator, name: str, *, secret: bool) -> None:
    follow = f"{program()} watch --uri {service.uri}"
    # A masked key cannot be pasted; the variable is where the key should be anyway.
    follow = f"AUTO_CONFIG_KEY=YOUR-KEY {follow}" if secret else f"{follow} --key {shlex.quote(service.key)}"
    put_line(f"Serving {name}, until Ctrl-C.")
    put_line(f"  URI  {service.uri}")
    put_line(f"  key  {mask(service.key) if secret else service.key}")
    put_line(f"Follow it in a second terminal:\n  {follow}\n")


def _serve(service: Emulator, source: StorySource | FileSource) -> int:
    pause = threading.Event()
    guests = Guests(service)
    while not reader_is_gone():
        for text in guests.new_lines():
            put_line(f"{clock()}  {text}")
        if change := source.advance(service):
            put_line(f"{clock()}  {change}")
        pause.wait(source.glance)
    return OK


class Guests:
    """The clients of a service, as they come and leave."""

    def __init__(self, service: Emulator) -> None:
        self._service = service
        self._seen = 0  # requests
        self._inside = 0

    def new_lines(self) -> Iterator[str]:
        """Yield in words what has happened since the last call."""
        requests, self._seen = self._service.requests_since(self._seen)
        for request in requests:
            if request.status == _CONNECTED:
                self._inside += 1
                yield "a client connected"
            else:
                yield f"a request was refused with status {request.status}"
        # Below zero if one came just now; the next call reports it.
        left = max(0, self._inside - self._service.connections)
        if left:
            self._inside -= left
            yield f"{counted(left, 'client')} disconnected"


class StorySource:
    """The built-in configuration, and a change every few seconds."""

    def __init__(self, interval: float) -> None:
        self.name = f"a built-in story, with a change every {interval:g} s"
        self.glance = min(_GLANCE, interval)
        self._interval = interval
        self._acts = endless_changes(timedelta(seconds=3 * interval))
        self._due = time.monotonic() + interval

    def load(self) -> Configuration:
        """Return what is served at first."""
        return _versioned(ENVIRONMENTS, FILTERS)

    def advance(self, service: Emulator) -> str | None:
        """Make the next change if it is time; return it in words."""
        if time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + self._interval
        act = next(self._acts)
        act.play(service)
        return act.text


class FileSource:
    """A JSON file, followed when it changes. A file that cannot be used is reported once, and changes nothing."""

    def __init__(self, path: str) -> None:
        self.name = printable(path)
        self.glance = _GLANCE
        self._path = Path(path)
        self._seen: object = None

    def load(self) -> Configuration:
        """
        Return what the file holds.

        Raises:
            ValueError: It cannot be read, or is no configuration. The text says why, and holds no value.
        """
        # Before the file is read, so that a change in between is noticed the next time.
        self._seen = self._signature()
        try:
            text = self._path.read_text("utf-8-sig")
        except OSError as error:
            raise ValueError(error.strerror or type(error).__name__) from None
        except UnicodeDecodeError:
            raise ValueError("not UTF-8 text") from None
        return _versioned(*configuration_from_json(text.strip().removeprefix("data:")))  # or a line of a stream

    def advance(self, service: Emulator) -> str | None:
        """Serve what the file holds if it has changed; return that in words."""
        if self._signature() == self._seen:
            return None
        try:
            environments, filters = self.load()
        except ValueError as error:
            warn(self.name, f"{error}; what was there before is still served")
            return None
        service.replace(environments, filters)
        return f"{harmless(self.name)} has changed: {totals(len(environments), len(filters))}"

    def _signature(self) -> object:
        """Return what differs after each change of the file, also after its replacement."""
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        return found.st_mtime_ns, found.st_size, found.st_ino


def _versioned(environments: Sequence[EnvironmentRep], filters: Mapping[FilterID, FilterRep]) -> Configuration:
    """Return the configuration, in which items without a version or with version 1 get this run's version."""
    return (
        [replace(rep, version=_VERSION) if rep.version in (0, 1) else rep for rep in environments],
        {id: replace(rep, version=_VERSION) if rep.version in (0, 1) else rep for id, rep in filters.items()},
    )


def program() -> str:
    """Return the words with which this program was called: names, where a shell finds them, else paths."""
    as_module = os.path.basename(sys.argv[0]) == "__main__.py"
    path = sys.executable if as_module else sys.argv[0]
    name = os.path.basename(path)
    found = shutil.which(name)
    word = shlex.quote(name if found and os.path.abspath(found) == os.path.abspath(path) else path)
    return f"{word} -m autoconfig" if as_module else word
