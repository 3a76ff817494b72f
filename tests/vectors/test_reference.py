"""The recorded behaviour of LaunchDarkly's Go relay, played against the client over a loopback connection."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from vectors import playing
from vectors.playing import Vector

VECTORS = [vector for vector in playing.load("reference.json") if "decided_otherwise" not in vector]
AS_THE_SERVICE = [playing.respelled(vector) for vector in VECTORS]
WIRE = playing.load("wire.json")


def plays() -> Iterator[Any]:
    """
    Yield every vector in both spellings of ``envId``: one byte by byte in chunks, the other in whole events.

    How an answer is framed and cut has nothing to do with the spelling, so not all four ways are tried. A vector about
    a framing is played in that one.
    """
    bytewise, whole = ("chunked", "byte"), ("close", "event")
    for spelling, played, ways in (
        ("envID", VECTORS, [bytewise]),
        ("envId", AS_THE_SERVICE, [whole]),
        ("wire", WIRE, [bytewise, whole]),
    ):
        for vector, (framing, chunking) in itertools.product(played, ways):
            framing = vector.get("options", {}).get("framing", framing)
            yield pytest.param(vector, framing, chunking, id=f"{vector['name']}-{spelling}-{chunking}")


@pytest.mark.parametrize(("vector", "framing", "chunking"), list(plays()))
def test_the_client_does_what_the_relay_did(vector: Vector, framing: str, chunking: str) -> None:
    """Callbacks, requests and readiness are those of the recording."""
    outcome = playing.play(vector, vector["connections"], framing=framing, chunking=chunking)
    expect = vector["expect"]
    callbacks, sizes = playing.expected_callbacks(expect["callbacks"])
    assert playing.canonical(outcome.callbacks, sizes) == playing.canonical(callbacks, sizes)
    assert len(outcome.requests) == expect["connections"]
    playing.check_requests(outcome.requests, expect.get("requests", []))
    assert readiness(outcome.ready) == readiness(expect["ready"])


def readiness(ready: str | None) -> str | None:
    """Return what a readiness means: the recording's text of a failure is the relay's, not ours."""
    return ready if ready in (None, "none") else "failed"


def test_every_group_is_played() -> None:
    """The files are whole, and what is decided otherwise is left to its own tests."""
    assert {vector["group"] for vector in VECTORS} == {"scenario", "http", "sse", "json", "random"}
    assert (len(VECTORS), len(WIRE)) == (385, 17)
