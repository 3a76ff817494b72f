"""``autoconfig doctor`` on certificates: those that are trusted, those that are not, and what to do."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cli.findings import KEY, Examine, at, failed
from support.loopback import head
from support.raw_server import RawServer
from support.tls import stranger, write_authority

from autoconfig.cli import demo, doctor_network
from autoconfig.testing import Emulator


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


def test_no_tls_where_the_server_waits_for_the_end_of_a_line(examine: Examine) -> None:
    """Some servers wait for one as long as they get what is no HTTP, so the handshake hangs."""
    with RawServer([head(204, {})]) as server:
        code, found = examine("--uri", f"https://127.0.0.1:{server.port}", "--key", KEY, "--timeout", "1")
    assert (code, failed(found)[0]) == (1, "tls")
    assert found["tls"]["text"].endswith(" does not speak TLS: it answers in plain HTTP")


def test_a_certificate_that_no_ca_has_signed(examine: Examine, tmp_path: Path) -> None:
    lax = write_lax_authority(tmp_path, self_signed=True)
    with Emulator(demo.ENVIRONMENTS, certificate=(lax / "server.pem", lax / "server.pem")) as service:
        code, found = examine(*at(service))
    assert (code, failed(found)[0]) == (1, "tls")
    assert found["tls"]["text"].endswith("; issued by 127.0.0.1")
    assert "which no CA has signed" in found["tls"]["fix"]


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
    assert (code, failed(found)) == (
        1,
        ("tls", "REQUESTS_CA_BUNDLE: a file of CA certificates cannot be read: No such file or directory"),
    )


@pytest.mark.parametrize("named", ["--ca-file", "REQUESTS_CA_BUNDLE"])
def test_a_file_without_certificates_is_not_the_servers_fault(
    named: str, certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no PEM")
    arguments = ("--ca-file", str(file)) if named == "--ca-file" else ()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    code, found = examine(*at(certified()), *arguments)
    assert (code, failed(found)) == (1, ("tls", f"{named}: a file of CA certificates holds none that can be read"))


def test_a_ca_that_only_strict_pythons_refuse(
    certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 refuses trustme's or a company's CA for what older ones let pass; told from a CA that is unknown."""
    real = doctor_network._trusting

    def strict(ca_file: str | None) -> tuple[ssl.SSLContext, str]:
        context, named = real(ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context, named

    monkeypatch.setattr(doctor_network, "_trusting", strict)
    lax_ca = write_lax_authority(tmp_path)
    with Emulator(demo.ENVIRONMENTS, certificate=(lax_ca / "server.pem", lax_ca / "server.pem")) as service:
        code, found = examine(*at(service), "--ca-file", str(lax_ca / "ca.pem"))
    assert (code, failed(found)[0]) == (1, "tls")
    assert "Python 3.13" in found["tls"]["fix"]
    code, found = examine(*at(certified()))
    assert "Python 3.13" not in found["tls"]["fix"]


def test_a_ca_that_is_none(examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python refuses it, so it is no matter of strictness."""
    real = doctor_network._trusting

    def lax(ca_file: str | None) -> tuple[ssl.SSLContext, str]:
        context, named = real(ca_file)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        return context, named

    monkeypatch.setattr(doctor_network, "_trusting", lax)
    folder = write_lax_authority(tmp_path, is_ca=False)
    with Emulator(demo.ENVIRONMENTS, certificate=(folder / "server.pem", folder / "server.pem")) as service:
        code, found = examine(*at(service), "--ca-file", str(folder / "ca.pem"))
    assert (code, failed(found)) == (1, ("tls", "not trusted: invalid CA certificate; issued by Lax CA"))
    assert found["tls"]["fix"].startswith("A certificate that is not marked as a CA's has issued another one.")


def write_lax_authority(directory: Path, *, self_signed: bool = False, is_ca: bool = True) -> Path:
    """
    Write a CA without critical basicConstraints and without key identifiers, and a certificate that it issued.

    Args:
        directory: Where to.
        self_signed: The certificate is signed with its own key instead.
        is_ca: Whether the CA is marked as one.
    """
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
    (directory / "ca.pem").write_bytes(certificate("Lax CA", "Lax CA", root, root, ca=is_ca))
    issuer = ("127.0.0.1", key, key) if self_signed else ("Lax CA", key, root)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "server.pem").write_bytes(private + certificate("127.0.0.1", *issuer, ca=False))
    return directory


def test_plain_http_to_another_machine(examine: Examine, monkeypatch: pytest.MonkeyPatch, service: Emulator) -> None:
    monkeypatch.setattr("ipaddress.IPv4Address.is_loopback", False)
    code, found = examine(*at(service))
    assert (code, found["tls"]["state"]) == (0, "warn")
    assert found["tls"]["text"] == "none: anyone on the path can read the keys"
