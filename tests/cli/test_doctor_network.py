"""``autoconfig doctor`` on the way to the service: proxies, names, ports and certificates."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cli.findings import KEY, PASSWORD, Examine, at, failed, reset
from support.addresses import free_port
from support.proxies import Proxy
from support.tls import stranger, write_authority

from autoconfig.cli import demo, doctor_tls
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
    expected = f"the proxy {proxy.url} (from --proxy) refused a connection to service.example:443 with status {status}"
    assert (code, failed(found)) == (1, ("tcp", expected))
    assert fix in found["tcp"]["fix"]


def test_a_proxy_that_is_none(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=lambda: answer(server, b"SSH-2.0-nothing\r\n\r\n"))
        answering.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        code, found = examine("--uri", "https://service.example", "--key", KEY, "--proxy", url)
        answering.join()
    assert (code, failed(found)) == (1, ("tcp", f"what the proxy {url} (from --proxy) answered is not HTTP"))


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
    assert "(from --proxy) broke the connection off: " in found["tcp"]["text"]


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


def test_a_proxy_that_does_not_answer(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        code, found = examine(*SERVICE, "--proxy", url, "--timeout", "2")
    assert (code, failed(found)) == (1, ("tcp", f"the proxy {url} (from --proxy) did not answer within 2 s"))
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


def test_a_certificate(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    code, found = examine(*at(certified()), "--ca-file", write_authority(tmp_path))
    assert code == 0
    assert found["tls"]["details"]["version"] == "TLSv1.3"
    assert "trustme" in found["tls"]["details"]["issuer"]
    assert found["tls"]["details"]["days"] > 14


def test_a_certificate_that_ends_soon(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    service = certified(not_after=datetime.now(timezone.utc) + timedelta(days=3, hours=1))
    code, found = examine(*at(service), "--ca-file", write_authority(tmp_path))
    assert (code, found["tls"]["state"], found["tls"]["details"]["days"]) == (0, "warn", 3)


def test_a_certificate_that_is_not_trusted(
    certified: Callable[..., Emulator], examine: Examine, tmp_path: Path
) -> None:
    service = certified()
    for arguments in ((), ("--ca-file", write_authority(tmp_path, stranger()))):
        code, found = examine(*at(service), *arguments)
        assert (code, failed(found)[0]) == (1, "tls")
        assert found["tls"]["text"].startswith("not trusted: unable to get local issuer certificate; issued by trustme")
        assert "--ca-file FILE" in found["tls"]["fix"]


def test_a_certificate_of_another_host(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    code, found = examine(*at(certified("other.example")), "--ca-file", write_authority(tmp_path))
    assert (code, failed(found)[0]) == (1, "tls")
    assert "IP address mismatch" in found["tls"]["text"]
    assert "name of the host" in found["tls"]["fix"]


def test_a_certificate_that_has_ended(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    service = certified(not_after=datetime.now(timezone.utc) - timedelta(days=1))
    code, found = examine(*at(service), "--ca-file", write_authority(tmp_path))
    assert (code, failed(found)[0]) == (1, "tls")
    assert "certificate has expired" in found["tls"]["text"]
    assert "clock" in found["tls"]["fix"]


def test_no_tls_where_there_should_be(service: Emulator, examine: Examine) -> None:
    code, found = examine("--uri", service.uri.replace("http", "https"), "--key", service.key)
    host = service.uri.removeprefix("http://")
    assert (code, failed(found)) == (1, ("tls", f"{host} does not speak TLS: it answers in plain HTTP"))
    assert found["tls"]["fix"].startswith("Change the URI (--uri): http:// instead of https://")


def test_a_handshake_that_hangs(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"https://127.0.0.1:{silent.getsockname()[1]}"
        code, found = examine("--uri", uri, "--key", KEY, "--timeout", "2")
    assert (code, failed(found)[0]) == (1, "tls")


def test_certificates_that_are_not_there(
    certified: Callable[..., Emulator], examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
    code, found = examine(*at(certified()))
    assert (code, failed(found)) == (1, ("tls", "there is no file of the name in REQUESTS_CA_BUNDLE"))


@pytest.mark.parametrize("named", ["--ca-file", "REQUESTS_CA_BUNDLE"])
def test_a_file_without_certificates_is_not_the_servers_fault(
    named: str, certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no PEM")
    arguments = ("--ca-file", str(file)) if named == "--ca-file" else ()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    code, found = examine(*at(certified()), *arguments)
    assert (code, failed(found)) == (1, ("tls", f"{named} holds no usable certificates"))


def test_a_ca_that_only_strict_pythons_refuse(
    certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 refuses trustme's or a company's CA for what older ones let pass; told from a CA that is unknown."""
    real = doctor_tls._trusting

    def strict(bundle: str, named: str) -> ssl.SSLContext:
        context = real(bundle, named)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    monkeypatch.setattr(doctor_tls, "_trusting", strict)
    lax_ca = write_lax_authority(tmp_path)
    with Emulator(demo.ENVIRONMENTS, certificate=(lax_ca / "server.pem", lax_ca / "server.pem")) as service:
        code, found = examine(*at(service), "--ca-file", str(lax_ca / "ca.pem"))
    assert (code, failed(found)[0]) == (1, "tls")
    assert "Python 3.13" in found["tls"]["fix"]
    code, found = examine(*at(certified()))
    assert "Python 3.13" not in found["tls"]["fix"]


def write_lax_authority(directory: Path) -> Path:
    """Write a CA without critical basicConstraints and without key identifiers, and a certificate that it issued."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    def certificate(name: str, issuer: str, key: Any, signer: Any, ca: bool) -> bytes:
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
        start = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(days=1)
        builder = (
            x509.CertificateBuilder(
                *reversed(names), key.public_key(), x509.random_serial_number(), start.replace(tzinfo=None)
            )
            .not_valid_after(start + timedelta(days=90))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=False)
        )
        if not ca:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
        return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    root, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    (directory / "ca.pem").write_bytes(certificate("Lax CA", "Lax CA", root, root, ca=True))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.pem").write_bytes(private + certificate("127.0.0.1", "Lax CA", key, root, ca=False))
    return directory


def test_plain_http_to_another_machine(examine: Examine, monkeypatch: pytest.MonkeyPatch, service: Emulator) -> None:
    monkeypatch.setattr("autoconfig.cli.doctor_tls._is_loopback", lambda address: False)
    code, found = examine(*at(service))
    assert (code, found["tls"]["state"]) == (0, "warn")
    assert found["tls"]["text"] == "none: anyone on the path can read the keys"
