"""Redirects: to nowhere, in circles, to other hosts and schemes, with bodies that never end."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping

import pytest
from faults.events import SMALL, put
from faults.server import FaultServer, Play, Wire, healthy, stream
from faults.table import KEY, MODES, Fault, Tls, survive, table

MOST = 10  # redirects that are followed
UNUSABLE = "a redirect to something that is not a valid http:// or https:// URL"


def redirect(location: str | None, status: int = 302, headers: Mapping[str, str] = {}) -> Play:
    """Return a play: a redirect; ``{BASE}`` and ``{HOST}`` are the server, ``{TURN}`` is new each time."""

    def play(wire: Wire) -> None:
        framing = {"Transfer-Encoding": "", "Content-Length": "0"}
        names = {"{HOST}": wire.base.partition("//")[2], "{TURN}": str(wire.turn)}
        target = {} if location is None else {"Location": location}
        for name, value in names.items():
            target = {header: text.replace(name, value) for header, text in target.items()}
        wire.head(status, {**framing, **target, **headers})
        wire.stay()

    return play


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_nowhere(status: int) -> None:
    """Without a location there is nothing to follow."""
    survive(Fault(str(status), redirect(None, status), f"unexpected HTTP status {status}"))


LOOPS = {
    "self": "{BASE}/relay_auto_config",
    "relative": "?",
    "growing": "{BASE}/{TURN}",
    "empty_path": "{BASE}",
    "nothing": "//",
}


@pytest.mark.parametrize("location", LOOPS.values(), ids=LOOPS)
def test_a_circle(location: str) -> None:
    """After ten redirects an attempt has failed."""
    survive(Fault("circle", redirect(location), f"more than {MOST} redirects", requests=MOST + 1))


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:text/event-stream,event:%20put",
        "javascript:alert(1)",
        "gopher://127.0.0.1:1/",
        "https:///path",
        "http://[::1",
        "http://[zz]/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:port/",
        "http://:80/",
    ],
)
def test_a_redirect_to_what_is_no_url(location: str) -> None:
    """Only http and https URLs are followed; the line does not repeat the location."""
    lines, _ = survive(Fault("unusable", redirect(location), UNUSABLE))
    assert not any(location in text for _, text in lines.lines if len(location) > 2)


@pytest.mark.parametrize(
    "location",
    [f"http://{'a' * 70}.invalid/", f"http://{'a.' * 200}invalid/", "http://exa mple.invalid/", "http://a..b.invalid/"],
    ids=["long_label", "long_name", "space", "empty_label"],
)
def test_a_redirect_to_a_name_that_cannot_be(location: str) -> None:
    """Whatever the stack raises for such a name, it is one failed attempt."""
    survive(Fault("name", redirect(location), "."))


def elsewhere(other: FaultServer) -> Fault:
    """Return a redirect to another origin."""
    return Fault("elsewhere", redirect(f"{other.url}/x"), ".")


def test_a_redirect_to_a_closed_port() -> None:
    """The other host need not answer."""
    with FaultServer(healthy, 0) as other:
        fault = elsewhere(other)
    survive(fault._replace(text="Connection refused"))


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_a_redirect_to_another_origin(tls: bool, secure: Tls) -> None:
    """It is followed, from http to https too, but the key does not go along."""
    with FaultServer(stream(SMALL, then=Wire.end), threading.Event(), context=secure.context if tls else None) as other:
        fault = elsewhere(other)._replace(
            text="ended the stream", brings=[SMALL], config={"ca_certs": secure.ca_file} if tls else {}
        )
        survive(fault)
        assert other.requests
        for request in other.requests:
            assert "authorization" not in request.headers
            assert KEY not in str(request)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_another_origin(status: int) -> None:
    """A host that did not get the key cannot reject it: a portal's 403 is a failure like any other."""

    def refuse(wire: Wire) -> None:
        wire.head(status, {"Transfer-Encoding": "", "Content-Length": "0"})

    with FaultServer(refuse, threading.Event()) as other:
        survive(elsewhere(other)._replace(text=str(status)), deadline=3.0)


def flooding(wire: Wire) -> None:
    wire.head(302, {"Location": "/next"})
    # Slowly: a client that reads it would otherwise fill the memory before the test ends.
    wire.flood(itertools.repeat(put().wire * 100), every=0.002)


@MODES
def test_a_redirect_with_a_body_without_end(chunked: bool) -> None:
    """The body of a redirect is not read."""
    survive(Fault("body", flooding, "more than", requests=MOST + 1), chunked=chunked, deadline=3.0)


@table(
    Fault("cookies", redirect("{BASE}/x", headers={"Set-Cookie": "a=b; Path=/"}), "more than", requests=MOST + 1),
    Fault("with_a_user", redirect("http://user:word@{HOST}/x"), "more than", requests=MOST + 1),
)
def test_a_redirect_that_brings_something(fault: Fault) -> None:
    """Users and passwords in a location are left out."""
    play = fault.play

    def noting(wire: Wire) -> None:
        assert wire.request is not None
        assert "Basic" not in str(wire.request.headers)
        play(wire)

    survive(fault._replace(play=noting))
