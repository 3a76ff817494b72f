"""``proxy_url`` through a real proxy: forwarded for http, tunnelled with CONNECT for https."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from stream.connecting import KEY, connector, read, read_from
from support import tls
from support.proxies import Proxy
from support.raw_server import RawServer, Step, answer

from autoconfig import HTTPConfig
from autoconfig.exceptions import ConnectionFailedError, UnexpectedStatusError

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]
TARGET = "/relay_auto_config?rpacProtocolVersion=2"
CREDENTIALS = [
    ("user:word", "user:word"),
    ("us%20er:p%40ss%3Aw%2Ford", "us er:p@ss:w/ord"),
    ("us%25er:%C3%A9", "us%er:\u00e9"),
    ("user:", "user:"),
]


def basic(userinfo: str, encoding: str = "latin-1") -> str:
    return "Basic " + base64.b64encode(userinfo.encode(encoding)).decode()


def test_an_http_stream_is_forwarded() -> None:
    with RawServer(STREAM) as server, Proxy() as proxy:
        assert read(server.url, 1, proxy_url=proxy.url) == LINE
        assert [(request.method, request.target) for request in proxy.requests] == [("GET", server.url + TARGET)]
        assert server.targets == [TARGET]
        assert server.requests[0].headers["authorization"] == KEY
        assert "proxy-authorization" not in proxy.requests[0].headers


@pytest.mark.parametrize(("written", "meant"), CREDENTIALS)
def test_credentials_arrive_at_a_forwarding_proxy(written: str, meant: str) -> None:
    with RawServer(STREAM) as server, Proxy() as proxy:
        assert read(server.url, 1, proxy_url=proxy.url_for(written)) == LINE
        assert proxy.requests[0].headers["proxy-authorization"] == basic(meant)
        assert server.requests[0].headers["authorization"] == KEY


@pytest.mark.parametrize("proxy_tls", [False, True], ids=["http-proxy", "https-proxy"])
@pytest.mark.parametrize(("written", "meant"), CREDENTIALS)
def test_an_https_stream_is_tunnelled(written: str, meant: str, proxy_tls: bool, tmp_path: Path) -> None:
    """The proxy gets its credentials, and of the request to the service nothing but where it goes."""
    context = tls.server_context()
    trusted = tls.write_authority(tmp_path)
    with RawServer(STREAM, context=context) as server, Proxy(context=context if proxy_tls else None) as proxy:
        assert read(server.url, 1, proxy_url=proxy.url_for(written), ca_certs=trusted) == LINE
        (asked,) = proxy.requests
        assert (asked.method, asked.target) == ("CONNECT", f"127.0.0.1:{server.port}")
        assert asked.headers.pop("host", asked.target) == asked.target
        assert asked.headers == {"proxy-authorization": basic(meant)}
        assert server.targets == [TARGET]
        assert server.requests[0].headers["authorization"] == KEY
        assert "proxy-authorization" not in server.requests[0].headers


def test_the_user_agent_is_not_told_to_the_tunnel(tmp_path: Path) -> None:
    with RawServer(STREAM, context=tls.server_context()) as server, Proxy() as proxy:
        config: dict[str, Any] = {"user_agent": "my-relay/3.1", "headers": {"X-Tenant": "north"}}
        read(server.url, 1, proxy_url=proxy.url, ca_certs=tls.write_authority(tmp_path), **config)
        assert {"authorization", "x-tenant", "last-event-id"}.isdisjoint(proxy.requests[0].headers)


def test_a_redirect_goes_through_the_proxy_too() -> None:
    moved = answer(302, {"Location": "/elsewhere", "Content-Length": "0", "Connection": "close"})
    with RawServer([moved, None], STREAM) as server, Proxy() as proxy:
        assert read(server.url, 1, proxy_url=proxy.url) == LINE
        assert [request.target for request in proxy.requests] == [server.url + TARGET, f"{server.url}/elsewhere"]


def test_a_tunnel_gives_events_at_once(tmp_path: Path) -> None:
    """Nothing waits for more bytes than there are, in two layers of TLS."""
    context = tls.server_context()
    with RawServer(STREAM, context=context) as server, Proxy(context=context) as proxy:
        one = connector(server.url, proxy_url=proxy.url, ca_certs=tls.write_authority(tmp_path))
        with one.connect("") as pieces:
            assert read_from(pieces, len(LINE)) == LINE


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_tunnel_that_is_refused_is_a_failure(status: int, tmp_path: Path) -> None:
    """Not of the key: the status is the proxy's, whatever it is."""
    with RawServer(STREAM, context=tls.server_context()) as server, Proxy(refusal=status) as proxy:
        expected = f"proxy.* refused the connection with status {status}$"
        with pytest.raises(ConnectionFailedError, match=expected):
            read(server.url, 1, proxy_url=proxy.url, ca_certs=tls.write_authority(tmp_path))
        assert server.requests == []


@pytest.mark.parametrize("status", [407, 502])
def test_a_forwarding_proxy_that_refuses_is_a_failure(status: int) -> None:
    with RawServer(STREAM) as server, Proxy(refusal=status) as proxy:
        with pytest.raises(UnexpectedStatusError) as caught:
            read(server.url, 1, proxy_url=proxy.url)
        assert caught.value.status == status
        assert server.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_may_be_trusted_by_any_of_several_authorities(scheme: str, tmp_path: Path) -> None:
    trusted = [tls.write_authority(tmp_path, tls.stranger()), tls.write_authority(tmp_path)]
    context = tls.server_context()
    with RawServer(STREAM, context=context) as server, Proxy(context=context) as proxy:
        assert read(f"{scheme}://127.0.0.1:{server.port}", 1, proxy_url=proxy.url, ca_certs=trusted) == LINE


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("given", [True, False], ids=["ca_certs", "default"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_whose_certificate_is_not_trusted_gets_nothing(scheme: str, given: bool, tmp_path: Path) -> None:
    """Neither its credentials nor, for an http stream, the key."""
    context = tls.server_context()
    config: dict[str, Any] = {"ca_certs": tls.write_authority(tmp_path, tls.stranger())} if given else {}
    with RawServer(STREAM, context=context) as server, Proxy(context=context) as proxy:
        url = f"{scheme}://127.0.0.1:{server.port}"
        with pytest.raises(ConnectionFailedError, match="the certificate is not accepted"):
            read(url, 1, proxy_url=proxy.url_for("user:word"), **config)
        assert proxy.requests == []


def test_a_proxy_that_is_not_there_is_a_failure() -> None:
    with Proxy() as proxy:
        url = proxy.url
    with RawServer(STREAM) as server:
        with pytest.raises(ConnectionFailedError, match="Connection refused"):
            read(server.url, 1, proxy_url=url)
        assert server.requests == []


def test_the_repr_of_the_options_hides_the_proxys_credentials() -> None:
    assert "w0rd" not in repr(HTTPConfig(proxy_url="http://someone:w0rd@proxy.example:3128"))
