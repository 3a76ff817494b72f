"""Running a command for each change: a handler that fails when the command does, and so is called again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress

from ..environments import EnvironmentParams, FilterParams
from ..identifiers import EnvironmentID, FilterID
from .events import Call, call_json

_GRACE = 2.0  # seconds between SIGTERM and SIGKILL
# Variables that no command has to see.
_OURS = ("AUTO_CONFIG_KEY", "AUTO_CONFIG_KEY_FILE", "AUTO_CONFIG_REDIS", "AUTO_CONFIG_REDIS_SECRET")


class CommandFailedError(Exception):
    """The command did not succeed. The text says how, and holds no secret."""


class Commands:
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
        self.last_failed = False
        self._command = command
        self._timeout = timeout
        self._known: dict[str, EnvironmentParams | FilterParams] = {}  # for the names of what is deleted
        self._process: subprocess.Popen[bytes] | None = None
        self.stopped = False

    def add_environment(self, params: EnvironmentParams) -> None:
        """Run the command."""
        self._run_for("add_environment", params.env_id, params)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Run the command."""
        self._run_for("update_environment", params.env_id, params)

    def delete_environment(self, id: EnvironmentID) -> None:
        """Run the command."""
        self._run_for_deletion("delete_environment", id)

    def add_filter(self, params: FilterParams) -> None:
        """Run the command."""
        self._run_for("add_filter", params.id, params)

    def delete_filter(self, id: FilterID) -> None:
        """Run the command."""
        self._run_for_deletion("delete_filter", id)

    def received_all_environments(self) -> None:
        """Run the command."""
        self.last_failed = True
        self._run(Call("received_all_environments"), {}, self._all_known())
        self.last_failed = False

    def stop(self) -> None:
        """End what is running, and run nothing more; called from another thread than the other methods."""
        self.stopped = True
        if process := self._process:
            _end(process)

    def _run_for(self, name: str, id: str, params: EnvironmentParams | FilterParams) -> None:
        self._known[id] = params
        self._run(Call(name, params), _names(params))

    def _run_for_deletion(self, name: str, id: str) -> None:
        known = self._known.get(id)
        self._run(Call(name, id), _names(known) if known else {})
        self._known.pop(id, None)

    def _all_known(self) -> dict[str, dict[str, dict[str, str]]]:
        """Return what there is, without keys: what was deleted while no command ran is not in it."""
        found: dict[str, dict[str, dict[str, str]]] = {"environments": {}, "filters": {}}
        for id, params in self._known.items():
            if isinstance(params, FilterParams):
                found["filters"][id] = {"project": params.proj_key, "filter": params.key}
            else:
                names = params.identifiers
                found["environments"][id] = {"project": names.proj_key, "environment": names.env_key}
        return found

    def _run(self, call: Call, names: dict[str, str], more: Mapping[str, object] | None = None) -> None:
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
            document = {**call_json(call, str), **(more or {})}
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


def _names(params: EnvironmentParams | FilterParams) -> dict[str, str]:
    if isinstance(params, FilterParams):
        return {"PROJECT": params.proj_key, "FILTER": params.key}
    return {
        "PROJECT": params.identifiers.proj_key,
        "ENVIRONMENT": params.identifiers.env_key,
        "SDK_KEY": params.sdk_key,
        "MOBILE_KEY": params.mobile_key,
    }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started; first politely."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)
            break
    with suppress(ProcessLookupError):  # what it has started may not have been so polite
        os.killpg(process.pid, signal.SIGKILL)


def _reap_orphans() -> None:
    """As the first process of a container, take note of the end of processes whose parents have left them."""
    if os.getpid() == 1:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
