"""The recorded vectors: loading them, playing one against the real client, and comparing."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.loopback import Request
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

from autoconfig import KeyRejectedError, RetryPolicy, StreamManager

FOLDER = Path(__file__).parent
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TIMEOUT = 30.0  # seconds until a play counts as hanging; a good one takes milliseconds
SENTINEL = "sentinel-3f1c"  # the id of a filter that no vector has
LAST_EVENT = {"event": "patch", "data": json.dumps({"path": f"/filters/{SENTINEL}", "data": {"version": 1}})}
LAST_CALL = {"call": "add_filter", "params": {"id": SENTINEL, "key": "", "projKey": ""}}
# Within one put the order of the kinds is fixed and that of the ids is not.
KINDS = {"add_environment": "environments", "update_environment": "environments"}

Vector = Mapping[str, Any]
Call = dict[str, Any]
"""A callback in the vectors' form: ``{"call", "params"?}``."""


def respelled(vector: Vector) -> Vector:
    """Return a recorded vector with the environment's id spelled as the service does, which changes nothing else."""
    connections = [[respelled_item(item) for item in items] for items in vector["connections"]]
    return {**vector, "connections": connections}


def respelled_item(item: Item) -> Item:
    if "raw_b64" in item:
        raw = base64.b64decode(item["raw_b64"]).replace(b"envID", b"envId")
        return {**item, "raw_b64": base64.b64encode(raw).decode()}
    respelled: Item = json.loads(json.dumps(item).replace("envID", "envId"))
    return respelled


class Outcome(NamedTuple):
    """What a client did with a script; ``ready`` is ``None`` (connected), an error's text, or ``"none"`` (pending)."""

    callbacks: list[Call]
    requests: list[Request]
    ready: str | None


def load(name: str) -> list[Any]:
    """Return the vectors of a file."""
    vectors = json.loads((FOLDER / name).read_text("utf-8"))
    assert isinstance(vectors, list)
    return vectors


def play(
    vector: Vector,
    connections: Sequence[Sequence[Item]],
    *,
    framing: str,
    chunking: str,
    retry_policy: RetryPolicy | None = None,
) -> Outcome:
    """
    Serve the connections to the real client and return what it did.

    A last connection that stays open gets one more event, a sentinel: once it is delivered, so is all that came before.
    """
    options = vector.get("options", {})
    recorder = Recorder()
    with ScriptedServer(with_sentinel(connections), framing=framing, chunking=chunking) as server:
        manager = StreamManager(
            options.get("key", "rel-key-1"),
            server.url + options.get("suffix", ""),
            recorder,
            initial_retry_delay=options.get("retry_ms", 1) / 1000,
            protocol_version=options.get("proto", 2),
            retry_policy=retry_policy,
        )
        ready = manager.start()
        try:
            wait_for_the_end(connections[-1], manager, recorder, ready, len(vector["expect"]["callbacks"]))
            readiness = describe_readiness(ready)
        finally:
            closed = manager.close(TIMEOUT)
        assert closed, "the manager did not close"
        calls = [call_of(*call) for call in recorder.calls]
        if not ends(connections[-1]):
            assert calls.pop() == LAST_CALL, "a callback came after the last event"
        return Outcome(calls, list(server.requests), readiness)


def with_sentinel(connections: Sequence[Sequence[Item]]) -> list[list[Item]]:
    """
    Return the script with the sentinel at the end of the last connection, if that stays open.

    One more connection has it too, so that a client that wrongly restarts is found out at once and not at the timeout.
    """
    script = [list(items) for items in connections]
    if not ends(script[-1]):
        script[-1].append(LAST_EVENT)
        script.append([LAST_EVENT])
    return script


def ends(items: Sequence[Item]) -> bool:
    """Return whether the server, or the client by its own will, ends this connection."""
    return bool(items) and not {"close", "status", "client_close"}.isdisjoint(items[-1])


def wait_for_the_end(
    last: Sequence[Item], manager: StreamManager, recorder: Recorder, ready: Future[None], callbacks: int
) -> None:
    """Wait until the script has been played and all that it causes has happened."""
    if not ends(last):
        recorder.wait_for("add_filter", TIMEOUT, lambda params: params.id == SENTINEL)
    elif "client_close" in last[-1]:
        ready.result(TIMEOUT)
        recorder.wait_for_calls(callbacks, TIMEOUT)
        assert manager.close(TIMEOUT)
    else:
        with pytest.raises(KeyRejectedError):
            manager.join(TIMEOUT)


def describe_readiness(ready: Future[None]) -> str | None:
    """Return the future's state as an outcome has it."""
    if not ready.done():
        return "none"
    error = ready.exception()
    return str(error) if error else None


def call_of(name: str, argument: Any) -> Call:
    """Return a recorded call in the vectors' form."""
    if argument is None:
        return {"call": name}
    if isinstance(argument, str):
        return {"call": name, "params": {"id": argument}}
    if name == "add_filter":
        return {"call": name, "params": {"id": argument.id, "key": argument.key, "projKey": argument.proj_key}}
    return {"call": name, "params": environment_of(argument)}


def environment_of(params: Any) -> dict[str, Any]:
    """Return an environment's parameters in the vectors' form."""
    names = params.identifiers
    assert names.filter_key == ""
    assert type(params.secure_mode) is bool  # 1 == True, so the comparison would not see it
    return {
        "envId": params.env_id,
        "envKey": names.env_key,
        "envName": names.env_name,
        "expiringSdkKey": params.expiring_sdk_key and expiring_of(params.expiring_sdk_key),
        "mobKey": params.mobile_key,
        "projKey": names.proj_key,
        "projName": names.proj_name,
        "sdkKey": params.sdk_key,
        "secureMode": params.secure_mode,
        "ttl_ns": params.ttl // timedelta(microseconds=1) * 1000,
    }


def expiring_of(key: Any) -> dict[str, Any]:
    """Return an expiring key in the vectors' form."""
    assert key.expiration.utcoffset() == timedelta(0)
    return {"expiration_ms": (key.expiration - EPOCH) // timedelta(milliseconds=1), "key": key.key}


def expected_callbacks(callbacks: Iterable[Mapping[str, Any]]) -> tuple[list[Call], list[int]]:
    """Return a vector's callbacks without their places, and how many of them each place has."""
    groups = [list(group) for _, group in itertools.groupby(callbacks, key=lambda call: call["at"])]
    calls = [{key: value for key, value in call.items() if key != "at"} for group in groups for call in group]
    return calls, [len(group) for group in groups]


def canonical(calls: Sequence[Call], sizes: Iterable[int]) -> list[Call]:
    """Return the calls with neighbours of one kind sorted by id, within each group of the given sizes."""
    left = iter(calls)
    groups = [list(itertools.islice(left, size)) for size in sizes]
    ordered: list[Call] = []
    for group in [*groups, list(left)]:
        for _, run in itertools.groupby(group, key=lambda call: KINDS.get(call["call"], call["call"])):
            ordered += sorted(run, key=id_of)
    return ordered


def id_of(call: Call) -> str:
    """Return the id that a call is about."""
    params = call.get("params", {})
    return str(params.get("envId", params.get("id", "")))


def check_requests(requests: Sequence[Request], expected: Sequence[Mapping[str, Any]]) -> None:
    """Compare number, targets and headers, if they were recorded; a ``Last-Event-ID`` must be there when expected."""
    if not expected:
        return
    assert [request.target for request in requests] == [one["target"] for one in expected]
    for request, one in zip(requests, expected, strict=True):
        names = {"authorization", "accept", "cache-control", "last-event-id"}
        assert {name: value for name, value in request.headers.items() if name in names} == one["headers"]
