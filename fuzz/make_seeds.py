"""
Writes the seeds, from the recorded vectors: ``python fuzz/make_seeds.py``.

A seed is the stream of one vector, small ones of all groups, followed by the target's control bytes.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FUZZ = Path(__file__).parent
SEEDS = FUZZ / "seeds"
VECTORS = FUZZ.parent / "tests" / "vectors"
_SMALLEST, _LARGEST = 30, 3000  # bytes
_COUNTS = {"scenario": 14, "json": 10, "random": 4, "sse": 4, "vector": 18, "wire": 12}
# No limit and a small one, pieces from one byte to many, and from no call to every second one that raises.
_CONTROLS = [
    bytes(8),
    b"\x00\x00\x06\x28\x00\x00\x00\x00",
    b"\x08\xff\xff\xff\x22\x48\x00\x00",
    b"\x40\x10\x20\x01\x55\x55\x55\x55",
]


def main() -> None:
    """Write all seeds anew."""
    SEEDS.mkdir(exist_ok=True)
    for old in SEEDS.iterdir():
        old.unlink()
    for number, (name, stream) in enumerate(sorted(_chosen().items())):
        (SEEDS / re.sub(r"[^\w.-]", "-", name)[:60]).write_bytes(stream + _CONTROLS[number % len(_CONTROLS)])


def _chosen() -> dict[str, bytes]:
    groups: dict[str, dict[str, bytes]] = {group: {} for group in _COUNTS}
    for group, name, stream in _streams():
        if group in groups and _SMALLEST <= len(stream) <= _LARGEST:
            groups[group][name] = stream
    return {name: stream for group, streams in groups.items() for name, stream in _sample(streams, _COUNTS[group])}


def _sample(streams: Mapping[str, bytes], count: int) -> list[tuple[str, bytes]]:
    """Return so many of the streams, from all over the list."""
    step = max(1, len(streams) // count)
    return list(streams.items())[::step][:count]


def _streams() -> Iterator[tuple[str, str, bytes]]:
    """Yield group, name and bytes of each vector that is a stream."""
    for vector in json.loads((VECTORS / "sse.json").read_text("utf-8")):
        yield "vector", f"sse-{vector['name']}", b"".join(map(base64.b64decode, vector["chunks_b64"]))
    for file in ("reference", "wire"):
        for vector in json.loads((VECTORS / f"{file}.json").read_text("utf-8")):
            stream = b"".join(_rendered(connection) for connection in vector["connections"])
            group = vector["group"] if file == "reference" else file
            yield group, f"{file}-{vector['name']}", stream.replace(b"envID", b"envId")  # as the service spells it


def _rendered(connection: Sequence[Mapping[str, Any]]) -> bytes:
    """Return the bytes of all items of a connection that are a part of the stream."""
    stream = b""
    for item in connection:
        if "event" in item:
            lines = [f"id: {item['id']}"] if "id" in item else []
            lines += [f"event: {item['event']}", *(f"data: {line}" for line in item["data"].split("\n")), "", ""]
            stream += "\n".join(lines).encode()
        elif "raw" in item:
            stream += item["raw"].encode()
        elif "raw_b64" in item:
            stream += base64.b64decode(item["raw_b64"])
    return stream


if __name__ == "__main__":
    main()
