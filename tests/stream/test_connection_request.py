"""Where a request goes and what it says."""

from __future__ import annotations

import platform
from typing import Any

import pytest
from stream.connecting import KEY, read
from support.raw_server import RawServer, answer

import autoconfig
from autoconfig.stream.connection import endpoint

LINE = b":\n"


@pytest.mark.parametrize(
    ("path", "joined"),
    [
        ("", "/relay_auto_config"),
        ("/", "/relay_auto_config"),
        ("/base", "/base/relay_auto_config"),
        ("/base/", "/base/relay_auto_config"),
        ("//base///more//", "/base/more/relay_auto_config"),
        ("/./base/.", "/base/relay_auto_config"),
        ("/base/../other", "/other/relay_auto_config"),
        ("/base/more/..", "/base/relay_auto_config"),
        ("/../..", "/relay_auto_config"),
        ("/...", "/.../relay_auto_config"),
        ("/a%2Fb", "/a%2Fb/relay_auto_config"),
        ("/a%20b", "/a%20b/relay_auto_config"),
        ("/%2e%2e", "/%2e%2e/relay_auto_config"),
        ("/100%", "/100%/relay_auto_config"),
        ("/a:b@c;d=e,f+g~h", "/a:b@c;d=e,f+g~h/relay_auto_config"),
        ("/küche", "/k%C3%BCche/relay_auto_config"),
        ('/a"b|c', "/a%22b%7Cc/relay_auto_config"),
        ("/relay_auto_config", "/relay_auto_config/relay_auto_config"),
    ],
)
def test_the_path_is_joined_and_cleaned(path: str, joined: str) -> None:
    assert endpoint(f"https://stream.example{path}", 1) == f"https://stream.example{joined}"


@pytest.mark.parametrize(
    ("rest", "version", "expected"),
    [
        ("", 1, ""),
        ("", 2, "?rpacProtocolVersion=2"),
        ("", 17, "?rpacProtocolVersion=17"),
        ("?", 2, "?rpacProtocolVersion=2"),
        ("?x=1&y=2", 1, "?x=1&y=2"),
        ("?x=1&y=2", 2, "?x=1&y=2&rpacProtocolVersion=2"),
        ("?x=a%26b&flag", 2, "?x=a%26b&flag&rpacProtocolVersion=2"),
        ("?rpacProtocolVersion=1", 2, "?rpacProtocolVersion=1&rpacProtocolVersion=2"),
        ("#part", 1, ""),
        ("?x=1#part", 2, "?x=1&rpacProtocolVersion=2"),
    ],
)
def test_the_query_is_kept_and_the_version_added(rest: str, version: int, expected: str) -> None:
    assert endpoint(f"http://stream.example{rest}", version) == f"http://stream.example/relay_auto_config{expected}"


@pytest.mark.parametrize(
    ("authority", "kept"),
    [
        ("stream.example:8030", "stream.example:8030"),
        ("user:word@stream.example", "stream.example"),
        ("user@stream.example:8030", "stream.example:8030"),
        ("us%40er:w%3Aord@stream.example", "stream.example"),
        ("[::1]:8030", "[::1]:8030"),
        ("user:word@[::1]", "[::1]"),
    ],
)
def test_user_and_password_are_left_out(authority: str, kept: str) -> None:
    assert endpoint(f"https://{authority}/base", 1) == f"https://{kept}/base/relay_auto_config"


@pytest.mark.parametrize(
    ("suffix", "target"),
    [
        ("", "/relay_auto_config?rpacProtocolVersion=2"),
        ("//base/../other/", "/other/relay_auto_config?rpacProtocolVersion=2"),
        ("/a%2Fb%20c", "/a%2Fb%20c/relay_auto_config?rpacProtocolVersion=2"),
        ("/base?x=1&y=a%26b#part", "/base/relay_auto_config?x=1&y=a%26b&rpacProtocolVersion=2"),
        ("/küche", "/k%C3%BCche/relay_auto_config?rpacProtocolVersion=2"),
    ],
)
def test_the_target_on_the_wire(suffix: str, target: str) -> None:
    with RawServer([answer(), LINE]) as server:
        assert read(server.url + suffix, 1) == LINE
        assert server.requests[0].method == "GET"
        assert server.targets == [target]


def test_a_request_has_exactly_these_headers() -> None:
    with RawServer([answer(), LINE]) as server:
        read(server.url, 1)
        assert server.requests[0].headers == {
            "host": f"127.0.0.1:{server.port}",
            "authorization": KEY,
            "accept": "text/event-stream",
            "accept-encoding": "identity",
            "cache-control": "no-cache",
            "connection": "keep-alive",
            "user-agent": f"autoconfig-python/{autoconfig.__version__} (Python {platform.python_version()})",
        }


def test_user_and_password_of_the_uri_do_not_replace_the_key() -> None:
    with RawServer([answer(), LINE]) as server:
        read(server.url.replace("//", "//user:word@"), 1)
        assert server.requests[0].headers["authorization"] == KEY


def test_further_headers_are_sent_as_they_are() -> None:
    with RawServer([answer(), LINE]) as server:
        read(server.url, 1, headers={"X-Tenant": "north", "Cookie": "a=1; b=2"})
        headers = server.requests[0].headers
        assert (headers["x-tenant"], headers["cookie"]) == ("north", "a=1; b=2")
        assert headers["authorization"] == KEY


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"user_agent": "my-relay/3.1"}, "my-relay/3.1"),
        ({"headers": {"User-Agent": "from-headers/1"}}, "from-headers/1"),
        ({"headers": {"user-agent": "from-headers/1"}}, "from-headers/1"),
    ],
)
def test_the_user_agent_can_be_another(config: dict[str, Any], expected: str) -> None:
    """Once, however it is given: two headers of one name would be joined by the server."""
    with RawServer([answer(), LINE]) as server:
        read(server.url, 1, **config)
        assert server.requests[0].headers["user-agent"] == expected


@pytest.mark.parametrize("id", ["77", "a b", "ключ-é-…-🙂", "a" * 1024, "7\u00a08", "~!@#$%^&*()"])
def test_the_last_event_id_is_sent_as_utf_8(id: str) -> None:
    with RawServer([answer(), LINE]) as server:
        read(server.url, 1, id)
        assert server.requests[0].headers["last-event-id"].encode("latin-1").decode("utf-8") == id


@pytest.mark.parametrize(
    "id", ["", " ", " 7", "7 ", "\t7", "7\t8", "7\r8", "7\n8", "7\r\nX-Injected: 1", "\x0b7", "7\x7f", "\0", "a" * 1025]
)
def test_an_id_that_no_header_can_carry_is_left_out(id: str) -> None:
    """The request is made all the same: an id that the service chose must not keep the client away for ever."""
    with RawServer([answer(), LINE]) as server:
        assert read(server.url, 1, id) == LINE
        assert "last-event-id" not in server.requests[0].headers
        assert "x-injected" not in server.requests[0].headers


def test_an_id_with_a_lone_surrogate_is_sent_without_it() -> None:
    with RawServer([answer(), LINE]) as server:
        read(server.url, 1, "7\ud8008")
        assert server.requests[0].headers["last-event-id"] == "7?8"
