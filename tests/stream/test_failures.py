"""What is said of a failure: enough to act on, and nothing that the network or the caller put into its text."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
from support import tls
from support.raw_server import RawServer

from autoconfig.stream.failures import describe

SECRET = "hunter2-4d3e8c26a7d1"
PATH = f"/base-{SECRET}?token={SECRET}"
MALFORMED = "the URL, or that of a proxy in the environment, is malformed"
HEADERS = {"Authorization": f"rel-{SECRET}", "X-Token": SECRET}


def failure_of(url: str, **options: Any) -> str:
    """Return what is said of a request that fails; it has secrets in its query and its headers."""
    with requests.Session() as session, pytest.raises(requests.RequestException) as caught:
        session.get(url, **{"headers": HEADERS, "timeout": 5, **options})
    text = describe(caught.value)
    check_silent(text)
    return text


def check_silent(text: str) -> None:
    """Check that there is nothing in it but words."""
    assert text
    for part in (SECRET, SECRET[:7], "token", "base-", "127.0.0.1", "localhost", "://", "Authorization", "0x", "\n"):
        assert part not in text


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port on which nothing listens, and nothing else will meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextmanager
def proxy(answer: bytes) -> Iterator[str]:
    """Yield the URL of a proxy, with a password, that answers everything with these bytes."""
    with RawServer([answer, None]) as server:
        yield f"http://user-{SECRET}:{SECRET}@127.0.0.1:{server.port}"


def test_a_refused_connection() -> None:
    """In the operating system's words."""
    with closed_port() as port:
        assert failure_of(f"http://127.0.0.1:{port}{PATH}") == "Connection refused"


def test_a_certificate_of_a_stranger(tmp_path: Path) -> None:
    """In OpenSSL's words, with the reason."""
    with RawServer([None], context=tls.server_context()) as server:
        text = failure_of(server.url + PATH, verify=tls.write_authority(tmp_path, tls.stranger()))
    assert text.startswith("the certificate is not accepted: ")
    assert "certificate" in text


def test_a_certificate_of_another_host(tmp_path: Path) -> None:
    """It has to be known that it is the name, and not the authority."""
    with RawServer([None], context=tls.server_context()) as server:
        url = f"https://localhost:{server.port}{PATH}"
        with requests.Session() as session, pytest.raises(requests.RequestException) as caught:
            session.get(url, headers=HEADERS, timeout=30, verify=tls.write_authority(tmp_path))
    text = describe(caught.value)
    assert text.startswith("the certificate is not accepted: Hostname mismatch")
    assert SECRET not in text


@contextmanager
def babbling(data: bytes) -> Iterator[int]:
    """Yield a port where whoever connects is told these bytes at once, whatever it says."""

    def babble() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(data)
            while connection.recv(4096):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=babble)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_no_tls_where_some_is_expected() -> None:
    """In OpenSSL's words; what the server said is not among them."""
    with babbling(f"220 {SECRET} ready\r\n".encode()) as port:
        assert (
            failure_of(f"https://127.0.0.1:{port}{PATH}")
            == "TLS failed: the other side does not speak TLS (OpenSSL: WRONG_VERSION_NUMBER)"
        )


def test_an_answer_that_does_not_come() -> None:
    """Within the read timeout."""
    with RawServer([threading.Event()]) as server:
        assert failure_of(server.url + PATH, timeout=(5, 0.05)) == "nothing was received in time"


def test_a_server_that_hangs_up() -> None:
    """Before it has answered, and in the middle."""
    with RawServer([None]) as server:
        assert failure_of(server.url + PATH) == "the connection was closed without an answer"
    with RawServer([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + SECRET.encode(), None]) as server:
        assert failure_of(server.url + PATH) == "the connection broke off in the middle of the answer"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (f"{SECRET} {SECRET}\r\n\r\n", "the answer is not HTTP"),
        ("HTTP/1.1 200 OK\r\n" + f"X: {SECRET}\r\n" * 200, "the answer has too many headers"),
        ("HTTP/1.1 200 OK\r\nX: " + SECRET * 5000, "a line of the answer's headers is too long"),
    ],
    ids=["no HTTP", "many headers", "a long one"],
)
def test_an_answer_that_is_no_http_or_has_too_much_of_it(answer: str, said: str) -> None:
    """What it was instead is not said."""
    with RawServer([answer.encode(), None]) as server:
        assert failure_of(server.url + PATH) == said


def test_a_socks_proxy_without_pysocks_says_what_to_install() -> None:
    """The words are requests' own; it raises them where the import has failed."""
    error = requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")
    assert describe(error) == "a SOCKS proxy needs PySocks: pip install 'ld-autoconfig[socks]'"


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 abc {SECRET}\r\n\r\n",
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{SECRET}\r\n",
        f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n{SECRET}",
    ],
    ids=["status", "chunk", "gzip"],
)
def test_a_broken_answer_is_called_more_than_an_error(answer: str) -> None:
    """The innermost exception is a ``ValueError`` or a ``zlib.error``, whose name alone tells nobody anything."""
    with RawServer([answer.encode(), None]) as server:
        assert failure_of(server.url + PATH) not in ("ValueError", "error")


@pytest.mark.parametrize("target", ["http://example.invalid", "https://example.invalid"])
def test_a_proxy_that_is_not_there(target: str) -> None:
    """It is told from a service that is not there, and nothing is said of its password."""
    with closed_port() as port:
        url = f"http://user-{SECRET}:{SECRET}@127.0.0.1:{port}"
        text = failure_of(target + PATH, proxies={"http": url, "https": url})
    assert text == "cannot use the proxy: Connection refused"


@pytest.mark.parametrize("status", [407, 502])
def test_a_proxy_that_refuses(status: int) -> None:
    """With the status, which says what to do; its own words are not repeated."""
    answer = f"HTTP/1.1 {status} {SECRET}\r\nContent-Length: 0\r\nX-Token: {SECRET}\r\n\r\n"
    with proxy(answer.encode()) as url:
        text = failure_of(f"https://example.invalid{PATH}", proxies={"https": url})
    assert text == f"cannot use the proxy: it refused the connection with status {status}"


@pytest.mark.parametrize("answer", [b"", f"{SECRET}\r\n\r\n".encode()])
def test_a_proxy_that_fails(answer: bytes) -> None:
    """It hangs up, or speaks something else than HTTP."""
    with proxy(answer) as url:
        text = failure_of(f"https://example.invalid{PATH}", proxies={"https": url})
    assert text in ("the connection was closed without an answer", "the answer is not HTTP")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"http://[{SECRET}/", MALFORMED),
        (f"http://{SECRET}:port/", MALFORMED),
        (f"http://*{SECRET}/", MALFORMED),
        (f"http:///{SECRET}", MALFORMED),
        (f"{SECRET}/", MALFORMED),
        (f"ftp://{SECRET}/", "the session has no adapter for the URL"),
    ],
)
def test_an_invalid_url(url: str, said: str) -> None:
    """The kind of fault; not the URL."""
    assert failure_of(url) == said


def test_an_invalid_header() -> None:
    """The kind of fault; not the value."""
    assert (
        failure_of("http://127.0.0.1", headers={"X-Token": f" {SECRET}"})
        == "a header of the request has a value that cannot be sent"
    )


def resolution(number: int, words: str) -> Exception:
    """Return what urllib3 makes of a name that has no address."""
    try:
        try:
            raise socket.gaierror(number, words)
        except socket.gaierror as error:
            raise urllib3.exceptions.NameResolutionError(SECRET, object(), error) from error  # type: ignore[arg-type]
    except urllib3.exceptions.NameResolutionError as error:
        return requests.ConnectionError(urllib3.exceptions.MaxRetryError(object(), PATH, error))  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [-2, 8], ids=["linux", "macos"])
def test_a_name_without_an_address(number: int) -> None:
    """In the resolver's words, whose numbers are not those of ``errno``: 8 is no "Exec format error" here."""
    assert (
        describe(resolution(number, "Name or service not known"))
        == "cannot look up the name: Name or service not known"
    )


def chained(*errors: Exception) -> Exception:
    """Return the first error, each raised while the next one was handled."""
    for outer, inner in itertools.pairwise(errors):
        outer.__context__ = inner
    return errors[0]


class Reasoned(Exception):  # noqa: N818
    """Keeps its cause where urllib3 does."""

    def __init__(self, reason: object) -> None:
        super().__init__(SECRET)
        self.reason = reason


REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, SECRET)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(SECRET), "unexpected error (RuntimeError)"),
        (KeyError(SECRET, SECRET), "unexpected error (KeyError)"),
        (UnicodeEncodeError("latin-1", SECRET, 0, 1, SECRET), "unexpected error (UnicodeEncodeError)"),
        (OSError(SECRET), "unexpected error (OSError)"),
        (REFUSED, "Connection refused"),
        (FileNotFoundError(errno.ENOENT, SECRET, SECRET), "No such file or directory"),
        (OSError(f"Tunnel connection failed: 403 {SECRET}"), "it refused the connection with status 403"),
        (RuntimeError(SECRET, REFUSED), "Connection refused"),
        (RuntimeError(SECRET, RuntimeError(REFUSED)), "Connection refused"),
        (Reasoned(REFUSED), "Connection refused"),
        (Reasoned(SECRET), "unexpected error (Reasoned)"),
        (chained(RuntimeError(SECRET), ValueError(SECRET), REFUSED), "Connection refused"),
        (chained(RuntimeError(SECRET), ssl.SSLError(1, f"[SSL] {SECRET}")), "TLS failed"),
        (chained(RuntimeError(SECRET), ssl.SSLEOFError(8, SECRET)), "TLS failed: the connection was closed"),
        (chained(RuntimeError(SECRET), ssl.SSLZeroReturnError(6, SECRET)), "TLS failed: the connection was closed"),
        (ssl.SSLCertVerificationError(1, SECRET), "the certificate is not accepted"),
    ],
)
def test_the_innermost_error_counts_and_its_own_words_do_not(error: Exception, said: str) -> None:
    """However it is wrapped, and also if Python code made what OpenSSL's own errors know more about."""
    text = describe(error)
    assert text.startswith(said)
    assert not text.endswith("None")
    check_silent(text)


def test_errors_that_hold_each_other_have_an_end() -> None:
    """A circle is followed once."""
    first, second = ValueError(SECRET), KeyError(SECRET)
    first.__context__, second.__context__ = second, first
    assert describe(first) == "unexpected error (KeyError)"
    assert describe(second) == "unexpected error (ValueError)"
    third = RuntimeError(SECRET)
    third.args = (third,)
    assert describe(third) == "unexpected error (RuntimeError)"


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.ETIMEDOUT, errno.ECONNRESET, errno.EMFILE])
def test_the_operating_systems_words_are_used(number: int) -> None:
    """Whatever text came with the number."""
    text = describe(OSError(number, SECRET))
    assert text == os.strerror(number)
    check_silent(text)


def test_an_error_that_is_the_systems_in_name_only() -> None:
    """A function of the user's may raise anything."""
    assert describe(OSError("vault", "down")) == "unexpected error (OSError)"
