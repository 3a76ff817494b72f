"""``autoconfig doctor`` on the way to the service: proxies, names and ports."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.findings import KEY, PASSWORD, Examine, at, failed, reset
from support.addresses import free_port
from support.proxies import Proxy
from support.tls import write_authority

from autoconfig.testing import Emulator

SERVICE = ("--uri", "https://service.example", "--key", KEY)


def test_through_a_proxy(service: Emulator, examine: Examine) -> None:
    with Proxy() as proxy:
        url = proxy.url_for(f"user:{PASSWORD}")
        code, found = examine(*at(service), "--proxy", url)
        assert [request.method for request in proxy.requests] == ["GET"]
    assert code == 0
    assert found["proxy"]["text"] == f"{proxy.url} from --proxy, with a user and a password"
    assert found["dns"]["details"]["host"] == "127.0.0.1"


def test_through_a_tunnel(
    certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = certified()
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url_for(f"user:{PASSWORD}"))
        code, found = examine(*at(service), "--ca-file", write_authority(tmp_path))
        assert {request.method for request in proxy.requests} == {"CONNECT"}
        assert all("proxy-authorization" in request.headers for request in proxy.requests)
        assert found["proxy"]["text"] == f"{proxy.url} from HTTPS_PROXY, with a user and a password"
        assert found["tcp"]["text"].endswith(f"(the proxy), and through it {service.uri.removeprefix('https://')}")
        assert (code, found["tls"]["state"]) == (0, "ok")
        # The issuer of what a proxy opens is what one needs to know of it.
        _, found = examine(*at(service))
        assert "issued by trustme" in found["tls"]["text"]


@pytest.mark.parametrize(("status", "fix"), [(407, "USER:PASSWORD"), (403, "allow connections"), (502, "has to reach")])
def test_a_proxy_that_refuses(status: int, fix: str, examine: Examine) -> None:
    with Proxy(refusal=status) as proxy:
        code, found = examine("--uri", "https://service.example", "--key", KEY, "--proxy", proxy.url)
    expected = f"the proxy {proxy.url} (from --proxy): it refused the connection with status {status}"
    assert (code, failed(found)) == (1, ("tcp", expected))
    assert fix in found["tcp"]["fix"]


def test_a_proxy_that_is_none(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=lambda: answer(server, b"SSH-2.0-nothing\r\n\r\n"))
        answering.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        code, found = examine("--uri", "https://service.example", "--key", KEY, "--proxy", url)
        answering.join()
    assert (code, failed(found)) == (1, ("tcp", f"the proxy {url} (from --proxy): the answer is not HTTP"))


def answer(server: socket.socket, data: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def test_no_proxy_exempts_a_host(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    code, found = examine(*at(service))
    assert (code, found["proxy"]["text"]) == (0, "none: NO_PROXY exempts the host from HTTP_PROXY")


def test_a_variable_that_names_no_proxy(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@")
    code, found = examine(*at(service))
    assert (code, failed(found)) == (1, ("proxy", "what HTTP_PROXY holds is not the URL of a proxy"))


@pytest.mark.parametrize("scheme", ["https", "socks5"])
def test_other_proxies_have_no_tls_check_of_their_own(scheme: str, examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        arguments = ("--uri", "https://service.example", "--key", KEY, "--timeout", "2")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HTTPS_PROXY", url)
            code, found = examine(*arguments)
    assert (code, failed(found)[0]) == (1, "http")
    assert found["tls"]["state"] == "skip"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret?heim@proxy:3128",
        "http://user:secret/heim@proxy:3128",
        "http://user:secret#heim@proxy:3128",
        "http://secret?heim@proxy:3128",
        "http://user:secret@proxy:abc",
        "http://user:secret@proxy:0",
        "http://user:secret@ho\u2100st:3128",
        "http://user:secret\u20ac@proxy:3128",
        "http://user:secret@[proxy]:3128",
        "http://user:secret heim@proxy:3128",
        "ftp://user:secret@proxy:3128",
        "user:secret?heim@proxy:3128",
        "socks5h://user:secret?heim@proxy:1080",
    ],
)
def test_what_is_no_proxy_is_not_shown(url: str, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    code, found = examine(*SERVICE)
    assert (code, failed(found)) == (1, ("proxy", "what HTTPS_PROXY holds is not the URL of a proxy"))
    assert "percent-encoded" in found["proxy"]["fix"]
    assert "secret" not in str(found)


def test_what_the_option_names_is_looked_at_as_well(examine: Examine) -> None:
    code, found = examine(*SERVICE, "--proxy", f"http://{PASSWORD}?heim@proxy:3128")
    assert (code, failed(found)) == (1, ("proxy", "what --proxy holds is not the URL of a proxy"))


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https", "socks4", "socks4a", "socks5", "socks5h"])
def test_the_schemes_of_proxies(scheme: str, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:{PASSWORD}@127.0.0.1:9")
    _, found = examine(*SERVICE, "--timeout", "1")
    assert found["proxy"]["text"] == f"{scheme}://127.0.0.1:9 from HTTPS_PROXY, with a user and a password"


def test_a_proxy_that_resets_the_connection(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        resetting = threading.Thread(target=lambda: reset(server, after=True))
        resetting.start()
        code, found = examine(*SERVICE, "--proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        resetting.join()
    assert (code, failed(found)[0]) == (1, "tcp")
    assert found["tcp"]["text"].endswith("(from --proxy): Connection reset by peer")


def test_a_proxy_where_nothing_listens(examine: Examine) -> None:
    port = free_port()
    code, found = examine(*SERVICE, "--proxy", f"http://user:{PASSWORD}@127.0.0.1:{port}")
    shown = f"127.0.0.1:{port} (the proxy http://127.0.0.1:{port} (from --proxy))"
    assert (code, failed(found)) == (1, ("tcp", f"{shown}: nothing listens on this port (connection refused)"))
    assert found["tcp"]["fix"].startswith("Is the proxy's port right")


def test_an_answer_that_came_through_a_proxy_says_so(service: Emulator, examine: Examine) -> None:
    with Proxy(refusal=502) as proxy:
        code, found = examine(*at(service), "--proxy", proxy.url)
    assert (code, failed(found)) == (1, ("http", f"502, through the proxy {proxy.url} (from --proxy)"))


def test_who_rejects_a_key_may_be_the_proxy(service: Emulator, examine: Examine) -> None:
    with Proxy(refusal=403) as proxy:
        code, found = examine(*at(service), "--proxy", proxy.url)
    assert (code, failed(found)[0]) == (3, "http")
    assert found["http"]["text"].startswith(f"403, through the proxy {proxy.url} (from --proxy): the service rejected")
    assert "something on the way" in found["http"]["fix"]


def test_a_proxy_that_does_not_answer(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code, found = examine(*SERVICE, "--proxy", url, "--timeout", "2")
    assert (code, failed(found)) == (1, ("tcp", f"the proxy {url} (from --proxy): no answer within 2 s"))
    assert found["tcp"]["fix"] == "Is this the address of an HTTP proxy?"


def resolve(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_name_that_is_unknown(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve(monkeypatch, unknown)
    code, found = examine("--uri", "https://nowhere.example", "--key", KEY)
    assert (code, failed(found)[0]) == (1, "dns")
    assert found["dns"]["text"].endswith(": Name or service not known")


def test_what_is_no_name(examine: Examine) -> None:
    code, found = examine("--uri", "https://a..example", "--key", KEY)
    assert (code, failed(found)) == (1, ("dns", "a..example: this is not the name of a host"))


def test_name_servers_that_do_not_answer(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def silent(*_: object) -> list[object]:
        answered.wait(30)
        return []

    resolve(monkeypatch, silent)
    code, found = examine("--uri", "https://nowhere.example", "--key", KEY, "--timeout", "2")
    answered.set()
    assert (code, failed(found)) == (1, ("dns", "nowhere.example: no answer within 2 s"))


def test_an_address_that_does_not_answer_before_one_that_does(
    service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def both(host: str, *rest: Any, **more: Any) -> Any:
        if host != "service.example":
            return real(host, *rest, **more)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, rest[0])) for address in ("127.0.0.2", "127.0.0.1")
        ]

    resolve(monkeypatch, both)
    port = service.uri.rpartition(":")[2]
    code, found = examine("--uri", f"http://service.example:{port}", "--key", service.key)
    assert found["dns"]["text"] == "service.example: 127.0.0.2, 127.0.0.1"
    assert (code, found["tcp"]["state"], found["tcp"]["text"]) == (0, "warn", f"127.0.0.1:{port}; not 127.0.0.2")
