"""``autoconfig sync``: keep a file in step with the environments, and run a command for each change."""

from __future__ import annotations

import json
import math
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from ..cache import replacement
from ..handler_errors import HandlerErrors, HandlerFailure
from ..identifiers import mask
from . import FAILURE, NOT_READY, OK, USAGE
from .events import Call, Event, Picture, PlainLines, Stream
from .output import CommandError, harmless, warn
from .shell import CommandFailedError, Commands
from .sources import Source
from .words import configuration_json, counted, variables

_PAUSE = 2.0  # seconds until the next attempt, if the file cannot be written


def run(
    source: Callable[[], Source],
    *,
    timeout: float | None,
    output: str | None,
    form: str,
    command: str | None,
    command_timeout: float,
    once: bool,
) -> int:
    """Keep file and command in step until a signal comes, or once."""
    file = None if output is None else _File(Path(output), form)
    commands = None if command is None else Commands(command, command_timeout)
    errors = HandlerErrors(on_error=partial(_report, commands))
    try:
        with Stream(source(), commands, handler_errors=errors) as stream, _ending(commands):
            return _Sync(stream, file, commands).follow(timeout, once)
    except SystemExit:  # how a container is asked to stop
        return OK


@contextmanager
def _ending(commands: Commands | None) -> Iterator[None]:
    """At the end of the block, end the command that runs: the stream waits for it when it is closed."""
    try:
        yield
    finally:
        if commands:
            commands.stop()


class _Sync:
    def __init__(self, stream: Stream, file: _File | None, commands: Commands | None) -> None:
        self._stream = stream
        self._file = file
        self._commands = commands
        self._registry = stream.picture.registry
        self._lines = PlainLines(mask, stream.picture)
        self._changed = False  # since the file was last written
        self._write_after = -math.inf

    def follow(self, timeout: float | None, once: bool) -> int:
        """Follow the stream until its end, or once until all is in step; return the exit code."""
        deadline = time.monotonic() + timeout if timeout else math.inf
        for event in self._stream.events():
            if event is not None:
                self._take(event)
                continue
            if self._file and self._registry.is_ready and self._changed and time.monotonic() >= self._write_after:
                self._write(self._file, once)
            if once and self._is_in_step():
                return FAILURE if self._commands and self._commands.last_failed else OK
            if time.monotonic() >= deadline and (once or not self._registry.is_ready):
                raise self._late(timeout or 0.0)
        return OK

    def _take(self, event: Event) -> None:
        if isinstance(event, Call):
            self._changed = True
            if not self._registry.is_ready and event.name != "environment_refused":
                return  # the first ones are counted at the end, and not shown one by one
        self._lines.show(event)

    def _write(self, file: _File, once: bool) -> None:
        try:
            if file.write(self._stream.picture):
                number = counted(len(self._registry.environments), "environment")
                self._lines.say("wrote", "green", f"{number} to {harmless(str(file.path))}")
        except OSError as error:
            problem = f"cannot write the file: {os.strerror(error.errno or 0)}"
            if once:
                raise CommandError("--output", problem, "check the disk and the directory's owner") from None
            if self._write_after == -math.inf:
                warn("--output", f"{problem}; retrying")
            self._write_after = time.monotonic() + _PAUSE
            return
        self._changed, self._write_after = False, -math.inf

    def _is_in_step(self) -> bool:
        status = self._stream.manager.status
        written = not self._file or not self._changed
        return self._registry.is_ready and written and not status.queued_batches and not status.pending_retries

    def _late(self, timeout: float) -> CommandError:
        if self._registry.is_ready:
            return CommandError("--timeout", f"the command did not succeed within {timeout:g} s", "", NOT_READY)
        return self._stream.late(f"no full configuration within {timeout:g} s")


class _File:
    """
    The file that is kept in step.

    Attributes:
        path: Where it is.
    """

    def __init__(self, path: Path, form: str) -> None:
        if path.is_dir():
            raise CommandError("--output", "is a directory", "give the name of a file in it", USAGE)
        if path.exists() and not path.is_file():
            fix = "give the name of a file; or use --exec, or snapshot --json --reveal"
            raise CommandError("--output", "is a device or a pipe, which no file can replace", fix, USAGE)
        if not path.absolute().parent.is_dir():
            raise CommandError("--output", "its directory does not exist", "make it first", USAGE)
        self.path = path
        self._form = form

    def write(self, picture: Picture) -> bool:
        """Write the file if it is to have another content or mode; return whether it was."""
        data = self._content(picture).encode("utf-8", "backslashreplace")
        try:
            if self.path.read_bytes() == data and not stat.S_IMODE(self.path.stat().st_mode) & 0o077:
                return False
        except OSError:  # it is not there yet, or cannot be read, and is replaced
            pass
        with replacement(self.path) as file:
            file.write(data)
        return True

    def _content(self, picture: Picture) -> str:
        registry = picture.registry
        if self._form == "json":
            document = configuration_json(registry.environments.values(), registry.filters, str)
            return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        return "".join(f"{line}\n" for line in variables(picture.environments(), self._form))


def _report(commands: Commands | None, failure: HandlerFailure) -> None:
    """Say on stderr that a command has failed, unless it was stopped; called in the dispatcher's thread."""
    if commands and commands.stopped:
        return
    error = failure.error
    reason = str(error) if isinstance(error, CommandFailedError) else f"failed: {type(error).__name__}"
    delay = failure.next_attempt_in
    again = "it is not run again" if delay is None else f"next attempt in {delay:.1f} s"
    what = f"{failure.callback} {failure.id}".rstrip()
    warn("--exec", f"the command for {what} {reason}; {again}")
