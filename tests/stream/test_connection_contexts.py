"""The TLS contexts: how many there are, what they show to whom, and what is said of files that cannot be used."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import urllib3.util.ssl_
from stream.connecting import connector, read, read_from
from support import tls
from support.proxies import Proxy
from support.raw_server import RawServer, Step, answer, redirect

from autoconfig.exceptions import ConnectionFailedError
from autoconfig.stream import body

LINE = b":\n"
STREAM: list[Step] = [answer(), LINE]
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """All TLS contexts that urllib3, or somebody with its help, has made."""
    found: list[object] = []

    class Counted(ssl.SSLContext):
        def __new__(cls, *arguments: Any, **options: Any) -> Counted:
            found.append(cls)
            return super().__new__(cls, *arguments, **options)

    monkeypatch.setattr(urllib3.util.ssl_, "SSLContext", Counted)
    return found


@pytest.fixture
def trusted(tmp_path: Path) -> str:
    return tls.write_authority(tmp_path)


def optional() -> ssl.SSLContext:
    """Return a server's context that asks for a client's certificate and does without."""
    context = tls.server_context(wants_client=True)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def with_certificate(folder: Path) -> ssl.SSLContext:
    """Return a client's context that trusts the servers and shows a certificate."""
    context = ssl.create_default_context(cafile=tls.write_authority(folder))
    context.load_cert_chain(*tls.write_client(folder))
    return context


class TestHowMany:
    """One takes 20 ms, and a fork while one is made may hang at its exit."""

    def test_none_for_http(self, made: list[object]) -> None:
        with RawServer(STREAM) as server:
            one = connector(server.url)
            for _ in range(2):
                with one.connect("") as pieces:
                    assert read_from(pieces, 2) == LINE
        assert made == []

    def test_none_in_advance(self, made: list[object], trusted: str) -> None:
        connector("https://stream.example", ca_certs=trusted)
        assert made == []

    @pytest.mark.parametrize("through", [None, "http", "https"], ids=["direct", "http-proxy", "https-proxy"])
    def test_one_for_https_however_many_attempts_there_are(
        self, through: str | None, made: list[object], trusted: str
    ) -> None:
        context = tls.server_context()
        with (
            RawServer(STREAM, context=context) as server,
            Proxy(context=context if through == "https" else None) as proxy,
        ):
            config = {"proxy_url": proxy.url} if through else {}
            one = connector(server.url, ca_certs=trusted, **config)
            for _ in range(3):
                with one.connect("") as pieces:
                    assert read_from(pieces, 2) == LINE
        assert len(made) == 1

    def test_none_where_the_user_brought_one(self, made: list[object], tmp_path: Path) -> None:
        with RawServer(STREAM, context=tls.server_context()) as server:
            read(server.url, 1, ssl_context=with_certificate(tmp_path))
        assert made == []

    def test_another_when_a_file_has_changed(self, made: list[object], tmp_path: Path, trusted: str) -> None:
        """Certificates of a few hours are renewed while the program runs."""
        certificate, key = map(Path, tls.write_client(tmp_path))
        with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
            one = connector(server.url, ca_certs=trusted, client_cert=(certificate, key))
            for _ in range(2):
                with one.connect("") as pieces:
                    read_from(pieces, 1)
            tls.write_client(tmp_path)
            with one.connect("") as pieces:
                read_from(pieces, 1)
            first, second, third = server.client_certificates
        assert first == second != third == ssl.PEM_cert_to_DER_cert(certificate.read_text())
        assert len(made) == 2


class TestTheClientsCertificate:
    """It is the service's alone."""

    @pytest.mark.parametrize("form", ["option", "session", "context"])
    @pytest.mark.parametrize("attempts", [1, 2])
    def test_it_is_not_shown_where_a_redirect_leads(
        self, form: str, attempts: int, tmp_path: Path, trusted: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even at the second attempt, whose TLS contexts are those of the first."""
        pair = tls.write_client(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusted)
        config: dict[str, Any] = {
            "option": {"client_cert": pair},
            "session": {"session_factory": lambda: with_cert(pair)},
            "context": {"ssl_context": with_certificate(tmp_path)},
        }[form]
        shown = ssl.PEM_cert_to_DER_cert(Path(pair[0]).read_text())
        with (
            RawServer(STREAM, context=optional()) as other,
            RawServer([redirect(other.url), None], context=optional()) as server,
        ):
            one = connector(server.url, **config)
            for _ in range(attempts):
                with one.connect("") as pieces:
                    assert read_from(pieces, 2) == LINE
            assert server.client_certificates == [shown] * attempts
            assert other.client_certificates == [None] * attempts

    @pytest.mark.parametrize("form", ["option", "context"])
    def test_it_is_not_shown_after_a_detour(
        self, form: str, tmp_path: Path, trusted: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A redirect back to the service is the other host's will, not ours."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", trusted)
        config: dict[str, Any] = (
            {"client_cert": tls.write_client(tmp_path)}
            if form == "option"
            else {"ssl_context": with_certificate(tmp_path)}
        )
        server = RawServer([], STREAM, context=optional())
        with server, RawServer([redirect(f"{server.url}/back"), None], context=optional()) as other:
            server._answers = [redirect(other.url), None], STREAM
            assert read(server.url, 2, **config) == LINE
            assert [one is None for one in server.client_certificates] == [False, True]
            assert other.client_certificates == [None]

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_it_is_not_shown_to_a_proxy(self, scheme: str, tmp_path: Path, trusted: str) -> None:
        """At the second attempt neither."""
        asked: list[bytes | None] = []
        context = tls.server_context() if scheme == "https" else None
        with RawServer(STREAM, context=context) as server, WatchingProxy(asked) as proxy:
            pair = tls.write_client(tmp_path)
            one = connector(server.url, ca_certs=trusted, client_cert=pair, proxy_url=proxy.url)
            for _ in range(2):
                with one.connect("") as pieces:
                    assert read_from(pieces, 2) == LINE
        assert asked == [None, None]


class WatchingProxy(Proxy):
    """A proxy over TLS that asks for a client's certificate and notes what it is shown."""

    def __init__(self, shown: list[bytes | None]) -> None:
        context = optional()

        class Watched(ssl.SSLSocket):
            def do_handshake(self, block: bool = False) -> None:
                super().do_handshake(block)
                shown.append(self.getpeercert(binary_form=True))

        context.sslsocket_class = Watched
        super().__init__(context=context)


def with_cert(pair: tuple[str, str]) -> requests.Session:
    session = requests.Session()
    session.cert = pair
    return session


class TestAContextOfOnesOwn:
    """``HTTPConfig(ssl_context=…)``."""

    def test_it_decides_whom_to_trust(self, trusted: str) -> None:
        with RawServer(STREAM, context=tls.server_context()) as server:
            assert read(server.url, 2, ssl_context=ssl.create_default_context(cafile=trusted)) == LINE
            with pytest.raises(ConnectionFailedError, match="certificate is not accepted"):
                read(server.url, 1, ssl_context=ssl.create_default_context())

    def test_it_is_used_as_it_is(self, trusted: str, tmp_path: Path) -> None:
        """Whatever the environment says of authorities, and without a change to it."""
        context = ssl.create_default_context(cafile=trusted)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        before = (context.verify_mode, context.check_hostname, context.options, context.verify_flags)
        stats = context.cert_store_stats()
        with RawServer(STREAM, context=tls.server_context()) as server, pytest.MonkeyPatch.context() as patch:
            patch.setenv("REQUESTS_CA_BUNDLE", tls.write_authority(tmp_path, tls.stranger()))
            assert read(server.url, 2, ssl_context=context) == LINE
        assert before == (context.verify_mode, context.check_hostname, context.options, context.verify_flags)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_3
        assert context.cert_store_stats() == stats
        assert context.sslsocket_class is ssl.SSLSocket

    def test_one_that_verifies_nothing_does_so(self) -> None:
        """It is the user's decision; urllib3 warns of it."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with (
            RawServer(STREAM, context=tls.server_context()) as server,
            pytest.warns(urllib3.exceptions.InsecureRequestWarning),
        ):
            assert read(server.url, 2, ssl_context=context) == LINE


class TestPassphrases:
    """OpenSSL would ask for one on the terminal."""

    @pytest.mark.parametrize("form", ["pair", "one file"])
    def test_a_key_with_one_is_used_with_it(self, form: str, tmp_path: Path, trusted: str) -> None:
        with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
            cert = encrypted(tmp_path, form)
            assert read(server.url, 2, ca_certs=trusted, client_cert=cert, client_key_password=PASSPHRASE) == LINE

    @pytest.mark.parametrize("form", ["pair", "one file"])
    def test_without_it_the_attempt_fails_and_nobody_is_asked(self, form: str, tmp_path: Path, trusted: str) -> None:
        assert failure(client_cert=encrypted(tmp_path, form), ca_certs=trusted) == (
            "the client's key has a passphrase, and client_key_password is not given"
        )

    def test_a_wrong_one_is_said_so_and_not_shown(self, tmp_path: Path, trusted: str) -> None:
        said = failure(client_cert=encrypted(tmp_path, "pair"), ca_certs=trusted, client_key_password="wr0ng")
        assert said == "the client's certificate or key cannot be read, or client_key_password is wrong"

    def test_a_key_without_one_does_not_need_it(self, tmp_path: Path, trusted: str) -> None:
        with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
            cert = tls.write_client(tmp_path)
            assert read(server.url, 2, ca_certs=trusted, client_cert=cert, client_key_password=PASSPHRASE) == LINE


def encrypted(folder: Path, form: str) -> object:
    """Write a client's certificate and its key, encrypted."""
    from cryptography.hazmat.primitives import serialization

    certificate, key = map(Path, tls.write_client(folder))
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    key.write_bytes(
        secret.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(PASSPHRASE.encode()),
        )
    )
    if form == "pair":
        return certificate, key
    both = folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both


def failure(**config: Any) -> str:
    """Return why there is no connection to a service that would take it."""
    with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
        with pytest.raises(ConnectionFailedError) as caught:
            read(server.url, 1, **config)
        assert server.requests == []
    assert PASSPHRASE not in str(caught.value)
    return str(caught.value)


def test_a_file_of_authorities_that_holds_none_is_said_so(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("not a certificate")
    assert failure(ca_certs=empty) == "a file of CA certificates holds none that can be read"


def test_a_file_that_has_gone_is_said_so(tmp_path: Path, trusted: str) -> None:
    certificate, key = tls.write_client(tmp_path)
    config = {"ca_certs": trusted, "client_cert": (certificate, key)}
    with RawServer(STREAM, context=tls.server_context(wants_client=True)) as server:
        one = connector(server.url, **config)
        os.remove(key)
        with pytest.raises(ConnectionFailedError, match="client's certificate or key cannot be read: No such file"):
            one.connect("").__enter__()
        os.remove(trusted)
        with pytest.raises(ConnectionFailedError, match="CA certificates cannot be read: No such file"):
            one.connect("").__enter__()


def test_the_time_of_the_handshake_is_not_the_answers(monkeypatch: pytest.MonkeyPatch, trusted: str) -> None:
    """A handshake that takes longer than the read timeout, though not than the connect timeout."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(body, "time", SimpleNamespace(monotonic=lambda: clock.now))
    do_handshake = ssl.SSLSocket.do_handshake

    def slow(sock: ssl.SSLSocket, *arguments: Any) -> None:
        do_handshake(sock, *arguments)
        if not sock.server_side:
            clock.now += 10.0

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", slow)
    with RawServer(STREAM, context=tls.server_context()) as server:
        assert read(server.url, 2, ca_certs=trusted, read_timeout=5.0, connect_timeout=20.0) == LINE
    assert clock.now == 1010.0
