"""SOCKS proxies: by an option or by the environment, with and without PySocks."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest
from stream.connecting import WatchfulToken, connector, promptly, read
from stream.socks import SocksProxy
from support import tls
from support.addresses import free_port
from support.raw_server import RawServer, Step, answer

from autoconfig.exceptions import ConnectionFailedError

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]
SECRET = "hunter2-4d3e8c26a7d1"


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("way", ["option", "environment"])
def test_the_service_is_reached_through_it(
    scheme: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = WatchfulToken()
    context = tls.server_context() if scheme == "https" else None
    with RawServer(STREAM, context=context) as server, SocksProxy() as proxy:
        url = f"socks5://someone:{SECRET}@{proxy.address}"
        if way == "environment":
            monkeypatch.setenv("ALL_PROXY", url)
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
        config = {"proxy_url": url} if way == "option" else {}
        one = connector(server.url, token, ca_certs=tls.write_authority(tmp_path), **config)
        with one.connect("") as pieces:
            assert next(pieces) == LINE
        assert proxy.users == [("someone", SECRET)]
        assert proxy.asked == ["127.0.0.1"]
    assert token.connected[0]


def test_the_proxy_looks_names_up_if_it_is_to() -> None:
    with RawServer(STREAM) as server, SocksProxy({"stream.example": server.port}) as proxy:
        assert read("http://stream.example", 2, proxy_url=f"socks5h://{proxy.address}") == LINE
        assert proxy.asked == ["stream.example"]


def test_one_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    with SocksProxy(silent=True) as proxy, promptly(), pytest.raises(ConnectionFailedError, match="in time"):
        read("http://127.0.0.1:9", 1, proxy_url=f"socks5://{proxy.address}", connect_timeout=0.2)


def reason(address: str) -> str:
    with promptly(), pytest.raises(ConnectionFailedError) as caught:
        read("http://stream.example", 1, proxy_url=f"socks5h://someone:{SECRET}@{address}")
    return str(caught.value)


def test_one_that_is_not_there_is_said_so() -> None:
    assert reason(f"127.0.0.1:{free_port()}") == "cannot use the proxy: Connection refused"


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (b"\x05\x02\x00\x01" + bytes(6), "0x02: Connection not allowed by ruleset"),
        (b"\x05\x05\x00\x01" + bytes(6), "0x05: Connection refused"),
        (b"\x05\x63\x00\x01" + bytes(6), "0x63: Unknown error"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "SOCKS5 proxy server sent invalid data"),
        (b"", "Connection closed unexpectedly"),
    ],
    ids=["not allowed", "refused", "unknown", "no SOCKS", "end"],
)
def test_why_it_does_not_connect_is_said(refusal: bytes, said: str) -> None:
    """In the words of PySocks."""
    with SocksProxy(refusal=refusal) as proxy:
        assert reason(proxy.address) == f"cannot use the proxy: {said}"


def test_a_password_that_it_refuses_is_said_so() -> None:
    with SocksProxy(knows=False) as proxy:
        assert reason(proxy.address) == "cannot use the proxy: SOCKS5 authentication failed"


def test_an_answer_that_does_not_come_through_it_is_interrupted() -> None:
    token = WatchfulToken()
    gate = threading.Event()
    with RawServer([gate]) as server, SocksProxy() as proxy:
        one = connector(server.url, token, proxy_url=f"socks5://{proxy.address}", read_timeout=60.0)
        canceller = threading.Thread(target=lambda: (token.asked.wait(30), token.cancel()))
        canceller.start()
        with promptly(), pytest.raises(ConnectionFailedError), one.connect(""):
            pass
        canceller.join()
        token.close()  # as who has cancelled does


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_without_pysocks_a_proxy_of_the_environment_is_a_clear_failure(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise __import__("requests").exceptions.InvalidSchema("Missing dependencies for SOCKS support.")

    monkeypatch.setattr("requests.adapters.SOCKSProxyManager", missing)  # as requests does after a failed import
    monkeypatch.setitem(sys.modules, "socks", None)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConnectionFailedError) as caught:
        read(f"{scheme}://stream.example", 1)
    assert str(caught.value) == "a SOCKS proxy needs PySocks: pip install 'ld-autoconfig[socks]'"
