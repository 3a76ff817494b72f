"""A ``Location`` that looks like the own origin and leads elsewhere, or holds a user and a password."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import requests
from requests.auth import HTTPBasicAuth
from safety.wire import EMPTY_PUT, ENDED, KEY, PATH, Follow, assert_public, redirect
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

SECRET = "a-secret-of-the-caller"

# {home} and {away} are the host and port of the service and of a stranger.
DISGUISES = [
    "http://{home}@{away}/",
    "http://{home}:80@{away}/",
    "http://{home}%2F@{away}/",
    "//{home}@{away}/",
    "http://{away}#@{home}/",
    "http://{away}?@{home}/",
    "http://{away}/@{home}/",
    "http://{away}\\@{home}/",
    "http://{home}\\@{away}/",
    "http:\\\\{away}/",
    "/\\{away}/",
    "http://{away}\t@{home}/",
    "http://{home}%40{away}/",
    "HTTP://{away}/",
    "http:{away}",
    "http://[::ffff:127.0.0.1]:{away_port}/",
    "http://{home}:{away_port}/",
    "http://127.1:{away_port}/",
    "http://2130706433:{away_port}/",
]


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_location_in_disguise_gets_nothing(
    disguise: str, stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    script: list[list[Item]] = [[EMPTY_PUT, ENDED]]
    server = stack.enter_context(ScriptedServer(script))
    other = stack.enter_context(ScriptedServer([[EMPTY_PUT, ENDED]] * 5))
    home, away = (one.url.removeprefix("http://") for one in (server, other))
    location = disguise.format(home=home, away=away, away_port=away.rpartition(":")[2])
    script += [redirect(location), [EMPTY_PUT], [EMPTY_PUT]]
    follow(server.url, headers={"X-Api-Key": SECRET})
    recorder.wait_for_calls(2)
    for request in other.requests:
        assert_public(request, SECRET)
    for request in server.requests:  # whatever came of it, nobody was given a password
        assert request.headers.get("authorization") in (None, KEY)
        assert away not in request.headers["host"]


def test_a_user_and_password_in_the_location_of_the_own_origin_count_for_nothing(
    stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    script: list[list[Item]] = []
    server = stack.enter_context(ScriptedServer(script))
    script += [redirect(server.url.replace("//", "//user:password@") + "/there"), [EMPTY_PUT]]
    follow(server.url)
    recorder.wait_for_calls(1)
    assert [request.target for request in server.requests] == [PATH, "/there"]
    assert [request.headers["authorization"] for request in server.requests] == [KEY, KEY]
    assert "user" not in str(server.requests[1].headers["host"])


def test_a_user_and_password_in_the_location_of_another_origin_count_for_nothing(
    stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    other = stack.enter_context(ScriptedServer([[EMPTY_PUT]]))
    location = other.url.replace("//", "//user:password@")
    server = stack.enter_context(ScriptedServer([redirect(location)]))
    follow(server.url)
    recorder.wait_for_calls(1)
    assert_public(other.requests[0])


def test_the_sign_on_of_a_session_stays_at_the_own_origin(stack: ExitStack, follow: Follow, recorder: Recorder) -> None:
    """As in requests, which takes the Authorization header off when a redirect leads elsewhere."""

    def session() -> requests.Session:
        session = requests.Session()
        session.auth = HTTPBasicAuth("gateway-user", SECRET)
        return session

    other = stack.enter_context(ScriptedServer([[EMPTY_PUT]]))
    server = stack.enter_context(ScriptedServer([redirect(other.url)]))
    follow(server.url, session_factory=session)
    recorder.wait_for_calls(1)
    assert server.requests[0].headers["authorization"].startswith("Basic ")
    assert_public(other.requests[0], SECRET)


def test_the_authorization_header_of_a_session_stays_at_the_own_origin(
    stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    def session() -> requests.Session:
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {SECRET}"
        return session

    other = stack.enter_context(ScriptedServer([[EMPTY_PUT]]))
    server = stack.enter_context(ScriptedServer([redirect(other.url)]))
    follow(server.url, session_factory=session)
    recorder.wait_for_calls(1)
    assert server.requests[0].headers["authorization"] == KEY
    assert_public(other.requests[0], SECRET)
