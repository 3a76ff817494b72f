"""Whom the client trusts, and how it shows who it is."""

from __future__ import annotations

import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from stream.connecting import read
from support import tls
from support.proxies import Proxy
from support.raw_server import RawServer, Step, answer

from autoconfig.exceptions import ConnectionFailedError

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]


def one_file(folder: Path) -> object:
    return tls.write_authority(folder)


def a_path_object(folder: Path) -> object:
    return Path(tls.write_authority(folder))


def several_files(folder: Path) -> object:
    return [tls.write_authority(folder, tls.stranger()), tls.write_authority(folder)]


def several_files_in_another_order(folder: Path) -> object:
    return [tls.write_authority(folder), tls.write_authority(folder, tls.stranger())]


def one_file_with_several(folder: Path) -> object:
    bundle = folder / "bundle.pem"
    bundle.write_bytes(tls.stranger().cert_pem.bytes() + tls.authority().cert_pem.bytes())
    return str(bundle)


@pytest.mark.parametrize(
    "ca_certs", [one_file, a_path_object, several_files, several_files_in_another_order, one_file_with_several]
)
def test_a_certificate_of_a_trusted_authority_is_accepted(ca_certs: Callable[[Path], object], tmp_path: Path) -> None:
    with RawServer(STREAM, context=tls.server_context()) as server:
        assert read(server.url, 1, ca_certs=ca_certs(tmp_path)) == LINE


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the directory")
def test_a_directory_of_hashed_names_is_trusted(tmp_path: Path) -> None:
    """The form that ``openssl rehash`` gives it; a directory may stand beside files."""
    folder = tmp_path / "authorities"
    folder.mkdir()
    tls.write_hashed(folder)
    trusted = [tls.write_authority(tmp_path, tls.stranger()), folder]
    with RawServer(STREAM, context=tls.server_context()) as server:
        assert read(server.url, 1, ca_certs=trusted) == LINE
        assert read(server.url, 1, ca_certs=folder) == LINE


def test_a_certificate_of_an_unknown_authority_is_refused() -> None:
    """The default authorities are asked when no others are given."""
    with RawServer(STREAM, context=tls.server_context()) as server:
        with pytest.raises(ConnectionFailedError, match=r"the certificate is not accepted: .*(issuer|self.signed)"):
            read(server.url, 1)
        assert server.requests == []


def test_given_authorities_stand_in_place_of_the_default_ones(tmp_path: Path) -> None:
    with RawServer(STREAM, context=tls.server_context()) as server:
        with pytest.raises(ConnectionFailedError, match="the certificate is not accepted"):
            read(server.url, 1, ca_certs=tls.write_authority(tmp_path, tls.stranger()))
        assert server.requests == []


def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    """It is for 127.0.0.1, whatever the name leads to."""
    with RawServer(STREAM, context=tls.server_context()) as server:
        with pytest.raises(ConnectionFailedError, match="the certificate is not accepted"):
            read(f"https://localhost:{server.port}", 1, ca_certs=tls.write_authority(tmp_path))
        assert server.requests == []


def test_a_file_that_holds_no_certificate_is_a_failure(tmp_path: Path) -> None:
    """A failure of the attempt: the file may be written anew before the next one."""
    path = tmp_path / "empty.pem"
    path.write_text("not a certificate")
    with RawServer(STREAM, context=tls.server_context()) as server:
        with pytest.raises(ConnectionFailedError):
            read(server.url, 1, ca_certs=path)
        path.write_bytes(tls.authority().cert_pem.bytes())
        assert read(server.url, 1, ca_certs=path) == LINE


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    pair = tls.write_client(tmp_path)
    with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
        assert read(server.url, 1, ca_certs=tls.write_authority(tmp_path), client_cert=pair) == LINE
        assert server.client_certificates == [ssl.PEM_cert_to_DER_cert(Path(pair[0]).read_text())]


def test_a_client_certificate_and_its_key_may_be_in_one_file(tmp_path: Path) -> None:
    certificate, key = tls.write_client(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text(Path(certificate).read_text() + Path(key).read_text())
    with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
        assert read(server.url, 1, ca_certs=tls.write_authority(tmp_path), client_cert=both) == LINE


def test_a_client_without_a_certificate_is_turned_away(tmp_path: Path) -> None:
    """In TLS 1.3 the server says so only after the handshake, as seen from the client."""
    with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
        with pytest.raises(ConnectionFailedError):
            read(server.url, 1, ca_certs=tls.write_authority(tmp_path))
        assert server.requests == []


@pytest.mark.parametrize("given", [True, False], ids=["ca_certs", "default"])
@pytest.mark.parametrize("through", [None, "http", "https"], ids=["direct", "http-proxy", "https-proxy"])
def test_every_context_demands_tls_1_2_and_a_certificate(
    through: str | None, given: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the versions of urllib3 and OpenSSL take to be their defaults."""
    seen: list[ssl.SSLContext] = []
    wrap_socket = ssl.SSLContext.wrap_socket

    def spy(context: ssl.SSLContext, *arguments: object, **options: object) -> ssl.SSLSocket:
        if not options.get("server_side"):
            seen.append(context)
        return wrap_socket(context, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", spy)
    context = tls.server_context()
    with RawServer(STREAM, context=context) as server, Proxy(context=context if through == "https" else None) as proxy:
        config = {"proxy_url": proxy.url} if through else {}
        if given:
            assert read(server.url, 1, ca_certs=tls.write_authority(tmp_path), **config) == LINE
        else:
            with pytest.raises(ConnectionFailedError, match="the certificate is not accepted"):
                read(server.url, 1, **config)
    assert seen
    assert {one.minimum_version for one in seen} == {ssl.TLSVersion.TLSv1_2}
    assert {one.verify_mode for one in seen} == {ssl.CERT_REQUIRED}
    assert all(one.check_hostname for one in seen)


@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="this OpenSSL has no older version")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
def test_a_server_that_has_only_an_older_version_is_refused(tmp_path: Path) -> None:
    context = tls.server_context()
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with RawServer(STREAM, context=context) as server:
        with pytest.raises(ConnectionFailedError):
            read(server.url, 1, ca_certs=tls.write_authority(tmp_path))
        assert server.requests == []
