"""``autoconfig emulate``: the service's side of the stream, from a file or with a built-in story."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

from msgspec.structs import replace

from ..environments import KeyRep
from ..identifiers import FilterID, FilterKey, mask
from ..messages import EnvironmentRep, FilterRep, SDKKeyRep
from ..testing import DEMO_KEY, Emulator, configuration_from_json
from . import OK, USAGE
from .demo import DOCS, ENVIRONMENTS, FILTERS, PREVIEW, PRODUCTION, STAGING, change
from .output import CommandError, clock, harmless, host_port, printable, put_line, reader_is_gone, warn
from .words import counted, totals

_CONNECTED = 200  # the status of an answer that is a stream
_GLANCE = 0.1  # seconds, at most, between two checks of the file and of the clients
# The version of items that have none. Each run has a higher one, so clients of an earlier run take the items for
# changes, and not for old messages.
_VERSION = time.time_ns() // 1_000_000
_WEB = FilterID("64c1f0a2b7e94d0012ab3f02")

Configuration = tuple[Sequence[EnvironmentRep], Mapping[FilterID, FilterRep]]


def _change_ttl(service: Emulator, grace: timedelta) -> None:
    change(service, DOCS.env_id, default_ttl=(service.environments[DOCS.env_id].default_ttl + 5) % 20)


def _expire(service: Emulator, grace: timedelta) -> None:
    key = service.environments[PRODUCTION.env_id].sdk_key.value
    change(service, PRODUCTION.env_id, sdk_key=SDKKeyRep(key), sdk_keys=(KeyRep("default", key),))


# The story repeats. A key that is replaced is accepted for the grace period.
STORY: dict[str, Callable[[Emulator, timedelta], object]] = {
    "renames Shop / Staging to QA": lambda service, _: change(service, STAGING.env_id, env_name="QA"),
    "rotates the SDK key of Shop / Production": lambda service, grace: service.rotate_sdk_key(
        PRODUCTION.env_id, f"sdk-{uuid4()}", grace
    ),
    "adds Docs / Preview": lambda service, _: service.set_environment(PREVIEW),
    "adds a payload filter": lambda service, _: service.set_filter(_WEB, FilterRep("docs", FilterKey("web"))),
    "lets the old SDK key of Shop / Production expire": _expire,
    "changes the TTL of Docs / Production": _change_ttl,
    "deletes Docs / Preview": lambda service, _: service.delete_environment(PREVIEW.env_id),
    "deletes the payload filter": lambda service, _: service.delete_filter(_WEB),
    "renames Shop / QA to Staging": lambda service, _: change(service, STAGING.env_id, env_name="Staging"),
}


def run(*, file: str | None, host: str, port: int, key: str | None, interval: float, reveal: bool) -> int:
    """Serve until a signal comes."""
    path = None if file is None else Path(file)
    seen = path and signature(path)  # before it is read, so that a change in between is noticed
    name = f"a built-in story, with a change every {interval:g} s" if path is None else printable(str(path))
    try:
        environments, filters = _versioned(ENVIRONMENTS, FILTERS) if path is None else load(path)
    except ValueError as error:
        fix = "give what `autoconfig snapshot --json --reveal` prints; autoconfig emulate --help shows the form"
        raise CommandError(name, str(error), fix, USAGE) from None
    service = _started(environments, filters, DEMO_KEY if key is None else key, host, port)
    try:
        _announce(service, name, secret=key is not None and not reveal)
        changes = tell_story(service, interval) if path is None else follow_file(path, service, seen)
        return _print_lines(min(_GLANCE, interval), guests(service), changes)
    finally:
        service.close()


def _started(
    environments: Sequence[EnvironmentRep], filters: Mapping[FilterID, FilterRep], key: str, host: str, port: int
) -> Emulator:
    try:
        socket.getaddrinfo(host, port)  # for its error's text: below, the error's number looks like one of errno
        service = Emulator(environments, filters, key=key, host=host, port=port)
        service.start()
        return service
    except (socket.gaierror, UnicodeError) as error:  # the latter of a name that IDNA cannot encode
        problem = f"cannot look up {printable(host)}: {getattr(error, 'strerror', 'not the name of a host')}"
        raise CommandError("--host", problem, "--host 127.0.0.1, or 0.0.0.0 for all addresses") from None
    except OSError as error:
        problem = f"cannot listen on {host_port(host, port)}: {os.strerror(error.errno or 0)}"
        raise CommandError("--port", problem, "--port 0, which takes a free one") from None


def _announce(service: Emulator, name: str, *, secret: bool) -> None:
    follow = f"{program()} watch --uri {service.uri}"
    # A masked key cannot be pasted; the variable is where the key should be anyway.
    follow = f"AUTO_CONFIG_KEY=YOUR-KEY {follow}" if secret else f"{follow} --key {shlex.quote(service.key)}"
    put_line(f"Serving {name}, until Ctrl-C.")
    put_line(f"  URI  {service.uri}")
    put_line(f"  key  {mask(service.key) if secret else service.key}")
    put_line(f"Follow it in a second terminal:\n  {follow}\n")


def _print_lines(glance: float, *sources: Iterator[str | None]) -> int:
    """Print what the sources yield, as long as somebody reads it; ``None`` says that there is nothing more for now."""
    pause = threading.Event()
    while not reader_is_gone():
        for source in sources:
            for text in iter(source.__next__, None):
                put_line(f"{clock()}  {text}")
        pause.wait(glance)
    return OK


def guests(service: Emulator) -> Iterator[str | None]:
    """Yield lines that say how many clients connect and disconnect, and which requests are refused."""
    seen = inside = 0
    while True:
        requests, seen = service.requests_since(seen)
        for request in requests:
            if request.status == _CONNECTED:
                inside += 1
                yield "a client connected"
            else:
                yield f"a request was refused with status {request.status}"
        left = inside - service.connections
        if left > 0:  # below zero if a client has just connected, which the next round reports
            inside -= left
            yield f"{counted(left, 'client')} disconnected"
        yield None


def tell_story(service: Emulator, interval: float) -> Iterator[str | None]:
    """Make a change every few seconds; yield it in words."""
    for text, play in itertools.cycle(STORY.items()):
        due = time.monotonic() + interval
        while time.monotonic() < due:
            yield None
        play(service, timedelta(seconds=3 * interval))
        yield text


def follow_file(path: Path, service: Emulator, seen: object) -> Iterator[str | None]:
    """
    Serve a file's content whenever the file has changed; yield a line about it.

    A file that cannot be used is reported once, and changes nothing. ``seen`` is the signature of what is served.
    """
    while True:
        now = signature(path)
        if now == seen:
            yield None
            continue
        seen = now
        try:
            environments, filters = load(path)
        except ValueError as error:
            warn(str(path), f"{error}; the previous configuration is still served")
        else:
            service.replace(environments, filters)
            yield f"{harmless(str(path))} has changed: {totals(len(environments), len(filters))}"


def load(path: Path) -> Configuration:
    """
    Return what a file holds.

    Raises:
        ValueError: It cannot be read, or is not a configuration. The text says why, and holds no value.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise ValueError(error.strerror or type(error).__name__) from None
    except UnicodeDecodeError:
        raise ValueError("not UTF-8 text") from None
    return _versioned(*configuration_from_json(text.strip().removeprefix("data:")))  # or a line of a stream


def signature(path: Path) -> object:
    """Return a value that is different after each change or replacement of a file."""
    try:
        found = path.stat()
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
    """Return the words with which a shell runs this program: its name, where that is found, else Python's path."""
    script = os.path.realpath(shutil.which("autoconfig") or "")
    if os.path.dirname(script) == os.path.dirname(sys.executable):
        return "autoconfig"
    return f"{shlex.quote(sys.executable)} -m autoconfig"
