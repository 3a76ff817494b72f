"""
What the load server sends: realistic events, rendered before anything is measured.

The default is what the service of 2026 sends: compact JSON, ``envId`` first, the two lists of keys last. The other
shapes are in :data:`SHAPES`.
"""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Callable
from typing import Any, NamedTuple

KNOWN = 100  # environments in the put that begins every stream of patches
ID = "envId"  # the name of the field, as the service spells it
_CHUNK = 16384  # bytes of an HTTP chunk: what a proxy passes on at a time
_ENVIRONMENTS = ("Production", "Staging", "Test", "Development", "Quality Assurance")
_SUBJECTS = ("Web Shop", "Café Finder", "Billing", "Mobile App", "Search", "Warehouse", "Identity", "Reporting")

Environment = dict[str, Any]


class Stream(NamedTuple):
    """
    What one path answers.

    Attributes:
        plain: The body as it is, for a client that need not take chunks apart.
        chunked: The body in HTTP chunks; between two parts the server waits until the client is surely done with one.
    """

    plain: bytes
    chunked: list[bytes]


def environment(number: int, version: int = 1) -> Environment:
    """Return an environment as the service sends it; the same for the same arguments. One in twenty rotates its key."""
    secret = random.Random(number)
    name = _ENVIRONMENTS[number % len(_ENVIRONMENTS)]
    project = number // len(_ENVIRONMENTS)
    project_name = f"{_SUBJECTS[project % len(_SUBJECTS)]} {project}"
    current, mobile, old = f"sdk-{_uuid(secret)}", f"mob-{_uuid(secret)}", f"sdk-{_uuid(secret)}"
    expires = 1790000000000 + number
    rotates = number % 20 == 7
    sdk_keys: list[dict[str, Any]] = [{"key": "default", "value": current}]
    if rotates:
        sdk_keys.append({"key": "previous", "value": old, "expiry": expires})
    return {
        ID: f"{number:06x}{secret.getrandbits(72):018x}",
        "envKey": name.lower().replace(" ", "-"),
        "envName": name,
        "mobKey": mobile,
        "projName": project_name,
        "projKey": project_name.lower().replace(" ", "-").replace("é", "e"),
        "sdkKey": {"value": current, **({"expiring": {"value": old, "timestamp": expires}} if rotates else {})},
        "defaultTtl": 5 if number % 10 == 3 else 0,
        "secureMode": number % 3 == 0,
        "version": version,
        "sdkKeys": sdk_keys,
        "mobileKeys": [{"key": "default", "value": mobile}],
    }


def _old(number: int) -> Environment:
    """The ten fields of 2024."""
    fields = environment(number)
    del fields["sdkKeys"], fields["mobileKeys"]
    return fields


def _rotating(number: int) -> Environment:
    """The ten fields of 2024, and an expiring key in each."""
    fields = _old(number)
    fields["sdkKey"]["expiring"] = {"value": f"sdk-{_uuid(random.Random(-number - 1))}", "timestamp": 1790000000000}
    return fields


def _unknown(number: int) -> Environment:
    """A field in each that nobody knows yet."""
    return {**environment(number), "tags": ["eu"]}


def _unknown_once(number: int) -> Environment:
    """The same in one environment."""
    return _unknown(number) if number == 1 else environment(number)


def _case_once(number: int) -> Environment:
    """One environment with a field's name in another case."""
    fields = environment(number)
    return {name.lower() if number == 1 else name: value for name, value in fields.items()}


def _null_once(number: int) -> Environment:
    """One environment with a null."""
    return {**environment(number), **({"defaultTtl": None} if number == 1 else {})}


SHAPES: dict[str, Callable[[int], Environment]] = {
    "2026": environment,
    "old": _old,
    "rotating": _rotating,
    "unknown": _unknown,
    "unknown-once": _unknown_once,
    "case-once": _case_once,
    "null-once": _null_once,
}


def put_data(count: int, shape: str = "2026", *, changed: int | None = None) -> str:
    """Return the data of a ``put`` of so many environments; the changed one has the next version."""
    environments = {}
    for number in range(count):
        fields = SHAPES[shape](number)
        environments[next(iter(fields.values()))] = fields  # the id is first, whatever the case of its name
        if number == changed:
            fields.update(version=2, envName="Renamed")
    return compact_json({"path": "/", "data": {"environments": environments, "filters": {}}})


def put(count: int, shape: str = "2026", *, changed: int | None = None) -> bytes:
    """Return that ``put`` as an event."""
    return _event("put", put_data(count, shape, changed=changed))


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
    return _event("patch", compact_json({"path": f"/environments/{data[ID]}", "data": data}))


def chunks(body: bytes, size: int = _CHUNK) -> bytes:
    """Return the body in HTTP chunks of one size, cut anywhere; without the last, because a stream has no end."""
    return b"".join(chunk(body[start : start + size]) for start in range(0, len(body), size))


def chunk(piece: bytes) -> bytes:
    """Return one HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def render(path: str) -> Stream:
    """
    Return what a path answers.

    ``put/N/SHAPE``; ``again/N`` and ``changed/N``: a second put, equal or with one environment changed; ``burst/N`` and
    ``single/N``: N patches behind a small put, in large chunks or one a chunk.
    """
    kind, count, *shape = path.split("/")
    if kind in ("burst", "single"):
        first, patches = put(KNOWN), [patch(number) for number in range(int(count))]
        body = first + b"".join(patches)
        return Stream(body, [chunks(first) + b"".join(map(chunk, patches)) if kind == "single" else chunks(body)])
    first = put(int(count), *shape)
    if kind == "put":
        return Stream(first, [chunks(first)])
    second = first if kind == "again" else put(int(count), changed=1)
    return Stream(first + second, [chunks(first), chunks(second)])


def _event(name: str, data: str) -> bytes:
    return f"event: {name}\ndata: {data}\n\n".encode()


def compact_json(document: object) -> str:
    """Return JSON as the service writes it."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False)


def _uuid(secret: random.Random) -> str:
    digits = f"{secret.getrandbits(128):032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
