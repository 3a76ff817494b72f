"""Archives of the relay's offline mode, as the service makes them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def environment_files(environment: dict[str, Any], data_id: str = "1") -> dict[str, bytes]:
    """Return the two files of an environment, by name."""
    id = environment["envId"]
    return {
        f"{id}.json": json.dumps({"env": environment, "dataId": data_id}).encode(),
        f"{id}-data.json": json.dumps({"flags": {}, "segments": {}}).encode(),
    }


def archive_files(*environments: dict[str, Any], data_id: str = "1") -> dict[str, bytes]:
    """Return all files of an archive, with the checksum, by name."""
    files = {name: data for one in environments for name, data in environment_files(one, data_id).items()}
    return with_checksum(files)


def with_checksum(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files with their checksum."""
    json_files = [files[name] for name in sorted(files) if name.endswith(".json")]
    return {**files, "checksum.md5": hashlib.md5(b"".join(json_files)).digest()}


def archive_bytes(files: dict[str, bytes], *, mode: str = "w:gz", more: Iterable[tarfile.TarInfo] = ()) -> bytes:
    """Return an archive of the files, and of members that have no content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in more:
            tar.addfile(member)
    return out.getvalue()


def write_archive(path: Path, *environments: dict[str, Any], data_id: str = "1", mode: str = "w:gz") -> None:
    """Put an archive of the environments in the place of the file."""
    replace(path, archive_bytes(archive_files(*environments, data_id=data_id), mode=mode))


def replace(path: Path, data: bytes) -> None:
    """Replace a file in one step."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(data)
    os.replace(new, path)
