"""What the load server sends: realistic events, rendered before anything is measured."""

from __future__ import annotations

import functools
import json
import random
from typing import Any, NamedTuple

KNOWN = 100  # environments in the put that begins every stream of patches
_CHUNK = 16384  # bytes of an HTTP chunk: what a proxy passes on at a time
_ENVIRONMENTS = ("Production", "Staging", "Test", "Development", "Quality Assurance")
_SUBJECTS = ("Web Shop", "Café Finder", "Billing", "Mobile App", "Search", "Warehouse", "Identity", "Reporting")


class Stream(NamedTuple):
    """
    What one path answers.

    Attributes:
        plain: The body as it is, for a client that need not take chunks apart.
        chunked: The body in HTTP chunks.
    """

    plain: bytes
    chunked: bytes


def environment(number: int, version: int = 1) -> dict[str, Any]:
    """Return an environment as the service sends it; the same for the same arguments."""
    secret = random.Random(number)
    name = _ENVIRONMENTS[number % len(_ENVIRONMENTS)]
    project = number // len(_ENVIRONMENTS)
    project_name = f"{_SUBJECTS[project % len(_SUBJECTS)]} {project}"
    sdk_key: dict[str, Any] = {"value": f"sdk-{_uuid(secret)}"}
    if number % 20 == 7:
        sdk_key["expiring"] = {"value": f"sdk-{_uuid(secret)}", "timestamp": 1790000000000 + number}
    return {
        "envID": f"{number:06x}{secret.getrandbits(72):018x}",
        "envKey": name.lower().replace(" ", "-"),
        "envName": name,
        "mobKey": f"mob-{_uuid(secret)}",
        "projKey": project_name.lower().replace(" ", "-").replace("é", "e"),
        "projName": project_name,
        "sdkKey": sdk_key,
        "defaultTtl": 5 if number % 10 == 3 else 0,
        "secureMode": number % 3 == 0,
        "version": version,
    }


def put(count: int) -> bytes:
    """Return one ``put`` event of so many environments."""
    environments = {(each := environment(number))["envID"]: each for number in range(count)}
    return _event("put", {"path": "/", "data": {"environments": environments, "filters": {}}})


def patch(number: int, *, name: str = "") -> bytes:
    """Return one ``patch`` event: the next version of one of the known environments."""
    before, marker, after = _patch_template(number % KNOWN, bool(name)).partition(b'"version":1')
    event = before + marker[:-1] + b"%d" % (number // KNOWN + 2) + after
    return event.replace(b'"envName":"?"', b'"envName":"%s"' % name.encode()) if name else event


@functools.cache
def _patch_template(number: int, nameless: bool) -> bytes:
    data = environment(number)
    if nameless:
        data["envName"] = "?"
    return _event("patch", {"path": f"/environments/{data['envID']}", "data": data})


def chunks(body: bytes, size: int = _CHUNK) -> bytes:
    """Return the body in HTTP chunks of one size, cut anywhere; without the last, because a stream has no end."""
    return b"".join(chunk(body[start : start + size]) for start in range(0, len(body), size))


def chunk(piece: bytes) -> bytes:
    """Return one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def render(path: str) -> Stream:
    """Return what a path answers: ``put/N``, ``burst/N`` or ``single/N`` (N patches, one event a chunk)."""
    kind, _, count = path.partition("/")
    if kind == "put":
        body = put(int(count))
        return Stream(body, chunks(body))
    first = put(KNOWN)
    patches = [patch(number) for number in range(int(count))]
    body = first + b"".join(patches)
    if kind == "single":
        return Stream(body, chunks(first) + b"".join(map(chunk, patches)))
    return Stream(body, chunks(body))


def _event(name: str, data: object) -> bytes:
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"event: {name}\ndata: {text}\n\n".encode()


def _uuid(secret: random.Random) -> str:
    digits = f"{secret.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
