"""The key, the caller's own headers and the last event id go to the service's own origin, and nowhere else."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from safety.certificates import Authority, Front
from safety.wire import EMPTY_PUT, ENDED, EVENT_ID, KEY, PATH, Follow, assert_public, redirect
from support.loopback import Request
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

SECRET = "a-secret-of-the-caller"
HEADERS = {"X-Api-Key": SECRET}
STATUSES = [301, 302, 303, 307, 308]
# All lead to one port of one machine, so what differs is the one part of the origin.
PLACES = {
    "host": (("http", "127.0.0.1"), ("http", "localhost")),
    "host-tls": (("https", "localhost"), ("https", "127.0.0.1")),
    "http-to-https": (("http", "127.0.0.1"), ("https", "127.0.0.1")),
    "https-to-http": (("https", "127.0.0.1"), ("http", "127.0.0.1")),
}
places = pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
FIRST = [EMPTY_PUT, ENDED]  # leaves an event id


def assert_trusted(request: Request) -> None:
    """Check that a request holds all that the service has to know."""
    assert request.headers["authorization"] == KEY
    assert request.headers["x-api-key"] == SECRET
    assert request.headers["last-event-id"] == EVENT_ID


@pytest.fixture
def served(stack: ExitStack, authority: Authority) -> tuple[ScriptedServer, Front, list[list[Item]]]:
    """A server that is reached by both schemes and both names, and the script that it plays."""
    script: list[list[Item]] = [FIRST]
    server = stack.enter_context(ScriptedServer(script))
    return server, stack.enter_context(Front(server, authority.context())), script


@pytest.mark.parametrize("status", STATUSES)
def test_a_redirect_within_the_origin_keeps_everything(
    status: int, stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    script = [FIRST, redirect("/a?b=c", status), redirect("{BASE}/d", status), [EMPTY_PUT]]
    server = stack.enter_context(ScriptedServer(script))
    follow(server.url, headers=HEADERS)
    recorder.wait_for_calls(2)
    assert [request.target for request in server.requests] == [PATH, PATH, "/a?b=c", "/d"]
    for request in server.requests[1:]:
        assert_trusted(request)


@pytest.mark.parametrize("status", STATUSES)
def test_nothing_goes_to_another_port(status: int, stack: ExitStack, follow: Follow, recorder: Recorder) -> None:
    other = stack.enter_context(ScriptedServer([[EMPTY_PUT, ENDED]]))
    script = [FIRST, redirect(f"{other.url}/there", status), [EMPTY_PUT]]
    server = stack.enter_context(ScriptedServer(script))
    follow(server.url, headers=HEADERS)
    recorder.wait_for_calls(3)
    assert [request.target for request in other.requests] == ["/there"]
    assert_public(other.requests[0], SECRET)
    assert len(server.requests) == 3
    for request in server.requests[1:]:  # the third is a new attempt, which may begin with the key again
        assert_trusted(request)


@places
def test_nothing_goes_to_another_host_or_scheme(
    places: tuple[tuple[str, str], tuple[str, str]],
    served: tuple[ScriptedServer, Front, list[list[Item]]],
    authority: Authority,
    follow: Follow,
    recorder: Recorder,
) -> None:
    (server, front, script), (home, away) = served, [served[1].url_by(*place) for place in places]
    script += [redirect(f"{away}/there"), [EMPTY_PUT, ENDED], [EMPTY_PUT]]
    follow(home, headers=HEADERS, ca_certs=authority.file)
    recorder.wait_for_calls(3)
    assert [request.target for request in server.requests] == [PATH, PATH, "/there", PATH]
    assert_trusted(server.requests[1])
    assert_public(server.requests[2], SECRET)
    assert_trusted(server.requests[3])
    assert front.failures == []


@places
def test_once_gone_astray_nothing_is_sent_to_the_own_origin_either(
    places: tuple[tuple[str, str], tuple[str, str]],
    served: tuple[ScriptedServer, Front, list[list[Item]]],
    authority: Authority,
    follow: Follow,
    recorder: Recorder,
) -> None:
    (server, _, script), (home, away) = served, [served[1].url_by(*place) for place in places]
    script += [redirect(f"{away}/there"), redirect(f"{home}/back"), redirect("/on"), [EMPTY_PUT, ENDED], [EMPTY_PUT]]
    follow(home, headers=HEADERS, ca_certs=authority.file)
    recorder.wait_for_calls(3)
    assert [request.target for request in server.requests] == [PATH, PATH, "/there", "/back", "/on", PATH]
    for request in server.requests[2:5]:
        assert_public(request, SECRET)
    assert_trusted(server.requests[5])


def test_a_chain_over_other_ports_does_not_bring_the_key_back(
    stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    script: list[list[Item]] = [FIRST]
    server = stack.enter_context(ScriptedServer(script))
    second = stack.enter_context(ScriptedServer([redirect(f"{server.url}/back")]))
    first = stack.enter_context(ScriptedServer([redirect(f"{second.url}/second")]))
    script += [redirect(f"{first.url}/first"), [EMPTY_PUT]]
    follow(server.url, headers=HEADERS)
    recorder.wait_for_calls(2)
    for request in (first.requests[0], second.requests[0], server.requests[2]):
        assert_public(request, SECRET)
