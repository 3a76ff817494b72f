"""``autoconfig fetch-archive``: the archive from a real server, and all that can come instead of it."""

from __future__ import annotations

import http.server
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.findings import DEADLINE
from support.archives import archive_bytes, archive_files
from support.samples import service_environment

from autoconfig.archive import fetch_archive
from autoconfig.archive_reader import read_archive
from autoconfig.cli import main
from autoconfig.exceptions import StreamError

KEY = "rel-0123456789abcdef0123456789abcdef"
Capture = pytest.CaptureFixture[str]
ARCHIVE = archive_bytes(archive_files(service_environment("e1"), service_environment("e2")))


class SDKEndpoint(http.server.ThreadingHTTPServer):
    """Serves the archive to who has the key, or what a test wants."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.uri = f"http://127.0.0.1:{self.server_port}"
        self.body, self.status, self.location, self.length = ARCHIVE, 200, "", 0
        self.requests: list[tuple[str, str | None]] = []


class _Handler(http.server.BaseHTTPRequestHandler):
    server: SDKEndpoint

    def do_GET(self) -> None:
        key = self.headers.get("Authorization")
        self.server.requests.append((self.path, key))
        self.send_response(self.server.status if key == KEY else 401)
        self.send_header("Content-Type", "application/x-gzip")
        if self.server.location:
            self.send_header("Location", self.server.location)
        self.send_header("Content-Length", str(self.server.length or len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[SDKEndpoint]:
    with SDKEndpoint() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def fetch(endpoint: SDKEndpoint, path: Path, *arguments: str) -> int:
    return main(["fetch-archive", "--uri", endpoint.uri, "--key", KEY, "--output", str(path), *arguments])


def test_downloads_it(endpoint: SDKEndpoint, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "ld.tar.gz"
    assert fetch(endpoint, path) == 0
    assert capsys.readouterr().out == f"2 environments in {path}\n"
    assert endpoint.requests == [("/relay/latest-all", KEY)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with path.open("rb") as file:
        assert read_archive(file)[0].keys() == {"e1", "e2"}
    assert main(["sync", "--archive", str(path), "--output", str(tmp_path / "out"), "--once"]) == 0


def test_takes_the_key_of_the_environment(
    endpoint: SDKEndpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not the URI of the stream, which is another host's."""
    monkeypatch.setenv("AUTO_CONFIG_KEY", KEY)
    monkeypatch.setenv("STREAM_URI", "http://127.0.0.1:9")
    assert main(["fetch-archive", "--uri", endpoint.uri, "--output", str(tmp_path / "a")]) == 0


def test_removes_what_a_killed_download_has_left(endpoint: SDKEndpoint, tmp_path: Path) -> None:
    left = tmp_path / ".ld.tar.gz-x.tmp"
    left.touch()
    os.utime(left, (0, 0))
    assert fetch(endpoint, tmp_path / "ld.tar.gz") == 0
    assert not left.exists()


def test_a_rejected_key(endpoint: SDKEndpoint, tmp_path: Path, capsys: Capture) -> None:
    wrong = "rel-ffffffffffffffffffffffffffffffff"
    arguments = ["fetch-archive", "--uri", endpoint.uri, "--key", wrong, "--output", str(tmp_path / "a")]
    assert main(arguments) == 3
    assert wrong not in capsys.readouterr().err
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("status", "body", "length", "problem"),
    [
        (404, b"", 0, "404"),
        (500, b"", 0, "500"),
        (200, b"<html>", 0, "damaged or truncated"),
        (200, ARCHIVE[:-30], 0, "damaged or truncated"),
        (200, ARCHIVE[:-30], len(ARCHIVE), ""),
        (200, archive_bytes({**archive_files(service_environment("e1")), "checksum.md5": b"x"}), 0, "checksum"),
    ],
    ids=["404", "500", "page", "cut", "broken-off", "checksum"],
)
def test_what_cannot_be_used_leaves_the_old_file(
    endpoint: SDKEndpoint, tmp_path: Path, capsys: Capture, status: int, body: bytes, length: int, problem: str
) -> None:
    path = tmp_path / "ld.tar.gz"
    path.write_bytes(b"old")
    endpoint.status, endpoint.body, endpoint.length = status, body, length
    assert fetch(endpoint, path) == 1
    error = capsys.readouterr().err
    assert problem in error
    assert KEY not in error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["ld.tar.gz"]


def test_the_key_goes_to_no_other_host(endpoint: SDKEndpoint, tmp_path: Path) -> None:
    endpoint.status, endpoint.location = 302, endpoint.uri.replace("127.0.0.1", "localhost") + "/elsewhere"
    assert fetch(endpoint, tmp_path / "a") == 1
    assert [key for path, key in endpoint.requests if path == "/elsewhere"] in ([None], [])


def test_a_directory_that_does_not_exist(endpoint: SDKEndpoint, tmp_path: Path, capsys: Capture) -> None:
    assert fetch(endpoint, tmp_path / "nowhere" / "a") == 1
    assert "cannot write the file" in capsys.readouterr().err


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(StreamError):
        fetch_archive(KEY, tmp_path / "a", uri="http://127.0.0.1:9")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(number: int, code: int, start: Callable[..., Any], tmp_path: Path) -> None:
    """Also while it waits for an answer; and it leaves nothing behind."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        running = start("fetch-archive", "--uri", uri, "--key", KEY, "--output", str(tmp_path / "archive"))
        connection = silent.accept()[0]
        with connection:
            connection.settimeout(DEADLINE)
            assert connection.recv(1)
            running.process.send_signal(number)
            assert running.ended() == code
    assert running.stderr == ""
    assert os.listdir(tmp_path) == []
