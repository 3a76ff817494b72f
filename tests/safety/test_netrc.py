"""Neither ``~/.netrc`` nor a user in the URI replaces the key, which is what requests would do."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from safety.certificates import Authority, Front
from safety.wire import EMPTY_PUT, ENDED, KEY, Follow, assert_public, redirect
from support.proxies import Proxy, basic
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

HOSTS = "".join(f"machine {host} login netrc-user password netrc-pass\n" for host in ("127.0.0.1", "localhost"))
CONTENTS = {"machine": HOSTS, "default": "default login netrc-user password netrc-pass\n"}
BASIC = basic("netrc-user", "netrc-pass")


@pytest.fixture(params=["HOME", "NETRC"])
def where(request: pytest.FixtureRequest) -> str:
    """The variable by which the file is found."""
    return str(request.param)


@pytest.fixture(params=CONTENTS)
def netrc(request: pytest.FixtureRequest, where: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A netrc file that has a password for every server here."""
    path = tmp_path / (".netrc" if where == "HOME" else "passwords")
    path.write_text(CONTENTS[request.param])
    path.chmod(0o600)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv(where, str(tmp_path if where == "HOME" else path))
    return path


def authorizations(server: ScriptedServer) -> list[str | None]:
    """Return what each request had as its credential."""
    return [request.headers.get("authorization") for request in server.requests]


@pytest.mark.usefixtures("netrc")
def test_bare_requests_would_replace_the_key(stack: ExitStack) -> None:
    """Without this the other tests here would prove nothing."""
    server = stack.enter_context(ScriptedServer([[ENDED]]))
    requests.get(server.url, headers={"Authorization": KEY}, timeout=30)
    assert authorizations(server) == [BASIC]


@pytest.mark.usefixtures("netrc")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_the_key_stays(host: str, stack: ExitStack, follow: Follow, recorder: Recorder) -> None:
    """At first, after a redirect, and at the next attempt."""
    server = stack.enter_context(ScriptedServer([[EMPTY_PUT, ENDED], redirect("/there"), [EMPTY_PUT]]))
    follow(server.url.replace("127.0.0.1", host))
    recorder.wait_for_calls(2)
    assert authorizations(server) == [KEY, KEY, KEY]


@pytest.mark.usefixtures("netrc")
def test_a_redirect_elsewhere_brings_no_password(stack: ExitStack, follow: Follow, recorder: Recorder) -> None:
    script: list[list[Item]] = []
    server = stack.enter_context(ScriptedServer(script))
    other = stack.enter_context(ScriptedServer([redirect(f"{server.url}/back")]))
    script += [redirect(f"{other.url}/there"), [EMPTY_PUT]]
    follow(server.url)
    recorder.wait_for_calls(1)
    for request in (other.requests[0], server.requests[1]):
        assert_public(request, BASIC)


@pytest.mark.usefixtures("netrc")
def test_the_key_stays_over_tls(authority: Authority, stack: ExitStack, follow: Follow, recorder: Recorder) -> None:
    server = stack.enter_context(ScriptedServer([[EMPTY_PUT]]))
    front = stack.enter_context(Front(server, authority.context()))
    follow(front.url, ca_certs=authority.file)
    recorder.wait_for_calls(1)
    assert authorizations(server) == [KEY]


@pytest.mark.usefixtures("netrc")
def test_the_key_stays_with_a_session_of_the_callers_own(stack: ExitStack, follow: Follow, recorder: Recorder) -> None:
    server = stack.enter_context(ScriptedServer([redirect("/there"), [EMPTY_PUT]]))
    follow(server.url, session_factory=requests.Session)
    recorder.wait_for_calls(1)
    assert authorizations(server) == [KEY, KEY]


@pytest.mark.usefixtures("netrc")
def test_the_key_stays_by_way_of_a_proxy_which_gets_no_password(
    authority: Authority, stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    server = stack.enter_context(ScriptedServer([[EMPTY_PUT], [EMPTY_PUT]]))
    front = stack.enter_context(Front(server, authority.context()))
    proxy = stack.enter_context(Proxy())
    for uri in (server.url, front.url):
        follow(uri, proxy_url=proxy.url, ca_certs=authority.file)
    recorder.wait_for_calls(2)
    assert authorizations(server) == [KEY, KEY]
    assert BASIC not in str(proxy.requests)


@pytest.mark.parametrize("userinfo", ["user:password", "user", ":password", KEY, f"{KEY}:", "a@b:c%40d"])
def test_a_user_in_the_uri_does_not_replace_the_key(
    userinfo: str, stack: ExitStack, follow: Follow, recorder: Recorder
) -> None:
    server = stack.enter_context(ScriptedServer([[EMPTY_PUT, ENDED], redirect("/there"), [EMPTY_PUT]]))
    manager = follow(server.url.replace("//", f"//{userinfo}@"))
    recorder.wait_for_calls(2)
    assert authorizations(server) == [KEY, KEY, KEY]
    assert [request.headers["host"] for request in server.requests] == [server.url.removeprefix("http://")] * 3
    assert userinfo not in repr(manager)
