"""
Keep a file in step with the environments, for a program that reads its configuration from one.

    AUTO_CONFIG_KEY=rel-… python config_file_sidecar.py --reveal /run/launchdarkly/environments.json

Without ``--reveal`` the file has no keys at all: enough for a list of environments, and nothing to protect. With it the
file has them in full, and is as secret as they are. In both cases its mode is 0600, so its reader has to be the same
user. It is replaced in one step, so a reader finds the old content or the new one, never a part, and never an empty
file. It is left in place at the end: as the last that was known.

``--format env`` writes the variables that the Relay Proxy takes for environments instead of JSON.
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
    EnvironmentParams,
    EnvironmentRegistry,
    KeyRejectedError,
    RegistryChange,
    StreamManager,
    StreamState,
    StreamStatus,
)

QUIET = 0.2  # seconds; changes that come together are written together

log = logging.getLogger("sidecar")


class Environments(EnvironmentRegistry):
    """
    The environments as the stream has them, and word of each change.

    Attributes:
        changed: Set when there is something to write, or nothing will change any more. Not before the first
            configuration is complete: a file with some of the environments would be worse than the one from before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Event()
        self.add_listener(self._item_changed)

    def received_all_environments(self) -> None:
        super().received_all_environments()
        self.changed.set()  # there may be no environment at all, and so no change

    def status_changed(self, status: StreamStatus) -> None:
        if status.state is StreamState.OFF:
            self.changed.set()

    def _item_changed(self, change: RegistryChange) -> None:
        if self.is_ready:
            self.changed.set()


def as_json(environments: Iterable[EnvironmentParams], *, reveal: bool) -> str:
    return json.dumps([as_object(params, reveal=reveal) for params in environments], indent=2) + "\n"


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
        found["sdkKeys"] = [
            {"value": key.value, "expires": key.expiration.isoformat() if key.expiration else None}
            for key in params.accepted_sdk_keys  # during a rotation there are two
        ]
    return found


def as_env(environments: Iterable[EnvironmentParams], *, reveal: bool) -> str:
    variables: dict[str, str] = {}
    for params in environments:
        name = re.sub(r"[^0-9A-Za-z]", "_", f"{params.identifiers.proj_key}_{params.identifiers.env_key}").upper()
        found = {f"LD_CLIENT_SIDE_ID_{name}": str(params.env_id)}
        if reveal:
            found |= {f"LD_ENV_{name}": params.sdk_key, f"LD_MOBILE_KEY_{name}": params.mobile_key}
        # Readers of such files do not agree on quotes, so nothing goes in that would need them. A line break above all:
        # what follows it would be a variable of its own.
        if variables.keys() & found.keys() or not all(re.fullmatch(r"[\w.-]*", value) for value in found.values()):
            log.error("left out %r: the name is taken, or a value has characters that no env file can hold", name)
            continue
        variables |= found
    return "".join(f"{variable}={value}\n" for variable, value in variables.items())


def replace(path: Path, text: str) -> None:
    """Put a new file in the place of an old one, in one step."""
    # In the same directory, because a rename is in one step only within a file system. mkstemp() gives it mode 0600
    # from the start; to narrow the mode of a file that is there already would leave a moment in which it can be opened.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # else a crash of the machine can leave an empty file under the new name
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed, as it should be
            os.unlink(temporary)


def follow(key: str, uri: str, write: Callable[[list[EnvironmentParams]], None]) -> None:
    """Write whenever something has changed; return only by an exception."""
    environments = Environments()
    with StreamManager(key, uri, environments) as manager:
        manager.add_status_listener(environments.status_changed)
        while True:
            environments.changed.wait()
            if manager.join(timeout=QUIET):  # more may follow; raises KeyRejectedError if it never will
                return
            environments.changed.clear()  # before the snapshot, so that a change after it is not missed
            write(sorted(environments.environments.values(), key=lambda params: params.env_id))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0].strip())
    parser.add_argument("path", type=Path, help="the file to write")
    parser.add_argument("--format", choices=["json", "env"], default="json", help="default: %(default)s")
    parser.add_argument("--reveal", action="store_true", help="write the keys too; the file is a secret then")
    options = parser.parse_args()
    render = {"json": as_json, "env": as_env}[options.format]
    written: list[str] = []

    def write(environments: list[EnvironmentParams]) -> None:
        text = render(environments, reveal=options.reveal)
        if written != [text]:  # a reconnection brings everything again; do not wake a reader for nothing
            replace(options.path, text)
            written[:] = [text]
            log.info("wrote %d environments to %s", len(environments), options.path)

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # how a container is asked to stop
    try:
        follow(os.environ["AUTO_CONFIG_KEY"], os.environ.get("STREAM_URI", "https://stream.launchdarkly.com"), write)
    except KeyRejectedError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
