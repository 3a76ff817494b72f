"""``autoconfig sync``: keep a file in step with the environments, and run a command for each change."""

from __future__ import annotations

import json
import math
import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from ..cache import replacement
from ..environments import FilterParams
from ..handler_errors import HandlerErrors, HandlerFailure
from ..identifiers import mask
from . import FAILURE, NOT_READY, OK, USAGE
from .events import Call, CallHandler, Event, Item, Picture, PlainLines, Stream, call_json
from .output import CommandError, harmless, warn
from .sources import KEY_FILE_VARIABLE, KEY_VARIABLE, REDIS_VARIABLE, SECRET, Source
from .words import configuration_json, counted, variables

_PAUSE = 2.0  # seconds until the next attempt, if the file cannot be written
_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
_OURS = (KEY_VARIABLE, KEY_FILE_VARIABLE, REDIS_VARIABLE, SECRET)  # variables that CMD does not get


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
        with Stream(source(), commands, handler_errors=errors) as stream, ExitStack() as stack:
            if commands:  # the running command is ended first, because closing the stream waits for it
                stack.callback(commands.stop)
            return _Sync(stream, file, commands).follow(timeout, once)
    except SystemExit:  # how a container is asked to stop
        return OK


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
                return  # the first environments are counted at the end, and not shown one by one
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
        if self._form == "json":
            return json.dumps(configuration_json(picture.registry, str), indent=2, ensure_ascii=False) + "\n"
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


class CommandFailedError(Exception):
    """The command did not succeed. The text says how, and holds no secret."""


class Commands(CallHandler):
    """
    A handler that runs a command for each call, and raises if it fails, so that the library makes the call again.

    Keys go to the command by its environment and its stdin only, never by its arguments.

    Args:
        command: What ``/bin/sh -c`` runs.
        timeout: How many seconds it may take.

    Attributes:
        stopped: Whether :meth:`stop` was called.
        last_failed: Whether the run for ``received_all_environments``, which is not made again, has failed.
    """

    def __init__(self, command: str, timeout: float) -> None:
        super().__init__(self._run_for)
        self.stopped = self.last_failed = False
        self._command = command
        self._timeout = timeout
        self._known: dict[str, Item] = {}  # for the names of what is deleted
        self._process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """End what is running, and run nothing more; called from another thread than the other methods."""
        self.stopped = True
        if process := self._process:
            _end(process)

    def _run_for(self, call: Call) -> None:
        if self.stopped:
            raise CommandFailedError("is not run any more")
        if call.name == "environment_refused":  # what was known of it stays
            return
        document = call_json(call, str)
        if isinstance(call.argument, Item):
            self._known[call.id] = call.argument
        elif call.argument is None:
            self.last_failed = True
            document |= self._all_known()
        self._run(call, _names(self._known.get(call.id)), document)
        if call.argument is None:
            self.last_failed = False
        elif not isinstance(call.argument, Item):
            self._known.pop(call.id, None)

    def _all_known(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return what there is, without keys: what was deleted while no command ran is not in it."""
        found: dict[str, dict[str, dict[str, str]]] = {"environments": {}, "filters": {}}
        for id, params in self._known.items():
            names = {name.lower(): value for name, value in _names(params).items() if "KEY" not in name}
            found["filters" if isinstance(params, FilterParams) else "environments"][id] = names
        return found

    def _run(self, call: Call, names: dict[str, str], document: dict[str, object]) -> None:
        variables = {name: value for name, value in os.environ.items() if name not in _OURS}
        variables |= {"AUTOCONFIG_EVENT": call.name, "AUTOCONFIG_ID": call.id}
        variables |= {f"AUTOCONFIG_{name}": value.replace("\0", "") for name, value in names.items()}
        process = subprocess.Popen(
            ["/bin/sh", "-c", self._command],
            stdin=subprocess.PIPE,
            env=variables,
            start_new_session=True,  # so that all that it starts can be ended
        )
        self._process = process
        try:
            if self.stopped:
                _end(process)
            process.communicate(json.dumps(document).encode() + b"\n", self._timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            raise CommandFailedError(f"took more than {self._timeout:g} s and was killed") from None
        finally:
            self._process = None
            if process.stdin:
                process.stdin.close()
            _reap_orphans()
        if code := process.returncode:
            raise CommandFailedError(f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}")


def _names(params: Item | None) -> dict[str, str]:
    """Return the names and keys of what is known, as variables have them."""
    if params is None:
        return {}
    if isinstance(params, FilterParams):
        return {"PROJECT": params.proj_key, "FILTER": params.key}
    return {
        "PROJECT": params.identifiers.proj_key,
        "ENVIRONMENT": params.identifiers.env_key,
        "SDK_KEY": params.sdk_key,
        "MOBILE_KEY": params.mobile_key,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children, first by SIGTERM, then by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            break
    with suppress(ProcessLookupError):  # its children may have ignored SIGTERM
        os.killpg(process.pid, signal.SIGKILL)


def _reap_orphans() -> None:
    """As process 1 of a container, reap the processes whose parents have ended."""
    if os.getpid() == 1:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
