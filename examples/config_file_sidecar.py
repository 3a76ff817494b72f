"""
Write the environments to a file, and again after each change.

    AUTO_CONFIG_KEY=rel-… python config_file_sidecar.py --reveal /run/ld/keys.json

Without ``--reveal`` the file has no keys at all: enough for a list of environments, and
nothing to protect. With it the file has them in full, and is as secret as they are. In
both cases its mode is 0600, so its reader has to be the same user.

The file is replaced in one step, so a reader finds the old content or the new one,
never a part, and never an empty file. Hence its path must not be a symbolic link, which
would be replaced itself, nor a bind mount of a single file, which cannot be replaced.
At the end the file stays in place, with what was last known.

``--format env`` writes the variables that the Relay Proxy takes for environments
instead of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from autoconfig import (
    AcceptedKey,
    EnvironmentParams,
    EnvironmentRegistry,
    KeyRejectedError,
    RegistryChange,
    StreamManager,
    StreamState,
    StreamStatus,
)

QUIET = 0.2  # seconds; changes that come together are written together
PAUSE = 2.0  # seconds until the next attempt, if the file cannot be written

log = logging.getLogger("sidecar")


class Environments(EnvironmentRegistry):
    """
    The environments as the stream has them, with a flag for changes.

    Attributes:
        changed: Set when there is something to write, or nothing will change any more.
            Not before the first configuration is complete: a file with some of the
            environments would be worse than the one from before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Event()
        self.add_listener(self._item_changed)

    def received_all_environments(self) -> None:
        super().received_all_environments()
        self.changed.set()  # there may be no environment, and so no change

    def status_changed(self, status: StreamStatus) -> None:
        if status.state is StreamState.OFF:
            self.changed.set()

    def _item_changed(self, change: RegistryChange) -> None:
        if self.is_ready:
            self.changed.set()


def as_json(environments: Iterable[EnvironmentParams], *, reveal: bool) -> str:
    objects = [as_object(params, reveal=reveal) for params in environments]
    return json.dumps(objects, indent=2) + "\n"


def as_object(params: EnvironmentParams, *, reveal: bool) -> dict[str, Any]:
    names = params.identifiers
    found: dict[str, Any] = {
        "id": params.env_id,
        "project": names.proj_key,
        "environment": names.env_key,
        "ttl": params.ttl.total_seconds(),
        "secureMode": params.secure_mode,
    }
    if reveal:
        found["mobileKey"] = params.mobile_key
        keys = params.accepted_sdk_keys  # during a rotation there are two
        found["sdkKeys"] = [{"value": k.value, "expires": expiry(k)} for k in keys]
    return found


def expiry(key: AcceptedKey) -> str | None:
    return key.expiration.isoformat() if key.expiration else None


def as_env(environments: Iterable[EnvironmentParams], *, reveal: bool) -> str:
    variables: dict[str, str] = {}
    for params in environments:
        names = params.identifiers
        key = f"{names.proj_key}_{names.env_key}"
        name = re.sub(r"[^0-9A-Za-z]", "_", key).upper()
        found = {f"LD_CLIENT_SIDE_ID_{name}": str(params.env_id)}
        if reveal:
            found[f"LD_ENV_{name}"] = params.sdk_key
            found[f"LD_MOBILE_KEY_{name}"] = params.mobile_key
        # Readers of such files do not agree on quotes, so nothing goes in that would
        # need them. A line break above all: what follows it would be a variable of its
        # own.
        if not all(re.fullmatch(r"[\w.-]*", value) for value in found.values()):
            log.error("left out %r: no env file can hold its values", name)
            continue
        if variables.keys() & found.keys():
            log.error("left out %r: another environment has the same name", name)
            continue
        variables |= found
    return "".join(f"{variable}={value}\n" for variable, value in variables.items())


def replace(path: Path, text: str) -> None:
    """Put a new file in the place of an old one, in one step."""
    # In the same directory, because a rename is in one step only within a file system.
    # mkstemp() gives it mode 0600 from the start; to narrow the mode of a file that is
    # there already would leave a moment in which it can be opened.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine can leave it empty
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):  # it was renamed
            os.unlink(temporary)


def follow(
    key: str, uri: str, write: Callable[[list[EnvironmentParams]], None]
) -> None:
    """Write whenever something has changed; return only by an exception."""
    environments = Environments()
    manager = StreamManager(key, uri, environments)
    # Before the start, or it would not be told of a key that is refused at once.
    manager.add_status_listener(environments.status_changed)
    with manager:
        while True:
            environments.changed.wait()
            manager.join(timeout=QUIET)  # more may follow
            # Before it looks at the state and the environments, so that no later change
            # is missed.
            environments.changed.clear()
            if manager.status.state is StreamState.OFF:
                manager.join()  # raises KeyRejectedError
                return
            known = environments.environments.values()
            try:
                write(sorted(known, key=lambda params: params.env_id))
            except OSError as error:  # a full disk, or the directory is gone
                log.error("cannot write: %s; next attempt in %g s", error, PAUSE)
                manager.join(timeout=PAUSE)
                environments.changed.set()


def main() -> None:
    summary = (__doc__ or "").split("\n\n", 1)[0].strip()
    parser = argparse.ArgumentParser(description=summary)
    add = parser.add_argument
    add("path", type=Path, help="the file to write")
    add("--format", choices=["json", "env"], default="json", help="default: json")
    add("--reveal", action="store_true", help="write the keys too; it is a secret then")
    options = parser.parse_args()
    key = os.environ.get("AUTO_CONFIG_KEY", "")
    if not key:
        parser.error("AUTO_CONFIG_KEY is not set")
    uri = os.environ.get("STREAM_URI", "https://stream.launchdarkly.com")
    if not options.path.parent.is_dir():
        parser.error(f"there is no directory {options.path.parent}")
    if options.path.is_dir():
        parser.error(f"{options.path} is a directory")
    render = {"json": as_json, "env": as_env}[options.format]
    written: list[str] = []

    def write(environments: list[EnvironmentParams]) -> None:
        text = render(environments, reveal=options.reveal)
        if written != [text]:  # a reconnection brings everything again; wake no reader
            replace(options.path, text)
            written[:] = [text]
            log.info("wrote %d environments to %s", len(environments), options.path)

    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # How a container is asked to stop.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        follow(key, uri, write)
    except KeyRejectedError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
