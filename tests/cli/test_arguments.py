"""What the command is told, and how it refuses what it cannot use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autoconfig.cli import COMMANDS, main
from autoconfig.cli.output import complain, shown_uri
from autoconfig.testing import Emulator
from autoconfig.version import __version__

KEY = "rel-0123456789abcdef0123456789abcdef"
Run = Callable[..., tuple[int, str, str]]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which must refuse the arguments; return what it says, which must be one line."""
    try:
        code = main(arguments)
    except SystemExit as exit:
        code = exit.code
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert KEY not in err
    return err


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"autoconfig {__version__}\n", "")


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_fits_a_terminal_of_80_columns(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit, match="0"):
        main([*command, "--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["watch", "snapshot", "doctor"])
def test_the_help_names_the_environment_variables(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    words = capsys.readouterr().out
    for name in ("STREAM_URI", "AUTO_CONFIG_KEY", "AUTO_CONFIG_KEY_FILE", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        assert name in words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["wacht"], "invalid choice: 'wacht'"),
        (["watch"], "no key; give one with --key, --key-file, AUTO_CONFIG_KEY or AUTO_CONFIG_KEY_FILE"),
        (["watch", "--key", ""], "--key must not be empty"),
        (["watch", "--key", f"{KEY}\n"], "--key must be printable ASCII"),
        (["watch", "--key", KEY, "--uri", "stream.example.com"], "--uri must be an http:// or https:// URL"),
        (["watch", "--key", KEY, "--uri", ""], "--uri must be"),
        (["watch", "--key", KEY, "--uri", "http://host:port"], "--uri must be"),
        (["watch", "--key", KEY, "--proxy", "proxy:8080"], "--proxy must be"),
        (["watch", "--key", KEY, "--ca-file", "nowhere.pem"], "--ca-file does not exist"),
        (["watch", "--key-file", "nowhere"], "cannot read the file of --key-file: No such file or directory"),
        (["watch", "--key-file", "."], "cannot read the file of --key-file: Is a directory"),
        (["watch", "--key", KEY, "--key-file", "x"], "not allowed with argument --key"),
        (["watch", "--key", KEY, "--timeout", "soon"], "--timeout: must be a number of seconds above zero"),
        (["watch", "--key", KEY, "--timeout", "0"], "--timeout: must be"),
        (["watch", "--key", KEY, "--timeout", "nan"], "--timeout: must be"),
        (["snapshot", "--key", KEY, "--json", "--format", "table"], "not allowed with"),
        (["snapshot", "--key", KEY, "--format", "yaml"], "invalid choice"),
        (["doctor", "--key", KEY, "--heartbeat", "0"], "--heartbeat: must be"),
        (["replay"], "FILE"),
        (["replay", "nowhere.sse"], "nowhere.sse: No such file or directory"),
        (["replay", "."], ".: Is a directory"),
        (["replay", "\0"], "FILE is not the name of a file"),
        (["completion"], "shell"),
        (["emulate", "--port", "65536"], "--port: must be a port from 0 to 65535"),
        (["emulate", "--port", "-1"], "--port"),
        (["emulate", "--host", ""], "--host: must not be empty"),
        (["emulate", "--host", "ä" * 70], "--host: must be a host's name or address"),
        (["emulate", "--interval", "0"], "--interval: must be"),
        (["emulate", "--key", "ключ"], "--key must be printable ASCII"),
        (["emulate", "--interval", "2", "x.json"], "--interval is for the built-in story"),
        (["emulate", "nowhere.json"], "nowhere.json: No such file or directory"),
    ],
)
def test_a_wrong_use_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, *arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        [KEY],
        ["watch", KEY],
        ["watch", "--keys", KEY],
        ["watch", f"--keys={KEY}"],
        ["watch", f"--json={KEY}"],
        ["watch", f"-v{KEY}"],
        ["watch", "--timeout", KEY],
        ["watch", "--uri", KEY, "--key", KEY],
        ["watch", "--key-file", KEY],
        ["watch", "--ca-file", KEY, "--key", KEY],
        ["emulate", KEY],
        ["snapshot", KEY],
        ["snapshot", "--format", KEY],
        ["doctor", "--heartbeat", KEY, "--key", KEY],
        ["replay", KEY],
        ["completion", KEY],
        ["emulate", "--port", KEY],
    ],
)
def test_a_key_in_the_wrong_place_is_not_shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, *arguments)


def test_a_misspelt_option_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "watch has no option --jsn" in refused(capsys, "watch", "--key", KEY, "--jsn")


def test_options_cannot_be_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    """An abbreviation in a script would break with the next option that begins alike."""
    assert "--plai" in refused(capsys, "watch", "--key", KEY, "--plai")


def test_the_variable_that_is_wrong_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTO_CONFIG_KEY_FILE", str(tmp_path / "nowhere"))
    assert "AUTO_CONFIG_KEY_FILE" in refused(capsys, "watch")
    monkeypatch.setenv("AUTO_CONFIG_KEY", f" {KEY}")
    assert "AUTO_CONFIG_KEY must be" in refused(capsys, "watch")
    monkeypatch.setenv("AUTO_CONFIG_KEY", KEY)
    monkeypatch.setenv("STREAM_URI", "nowhere")
    assert "STREAM_URI must be" in refused(capsys, "watch")


def test_a_key_file_must_be_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe")
    assert "does not hold a key" in refused(capsys, "watch", "--key-file", str(file))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_the_key_may_come_from_a_file(
    end: str, service: Emulator, start: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(f"{service.key}{end}".encode())
    start("watch", "--uri", service.uri, "--key-file", "key")
    service.wait_for_connections(1, timeout=10)


def test_everything_may_come_from_the_environment(
    service: Emulator, start: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(service.key)
    start("watch", STREAM_URI=service.uri, AUTO_CONFIG_KEY_FILE="key")
    service.wait_for_connections(1, timeout=10)
    start("watch", STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key, AUTO_CONFIG_KEY_FILE="nowhere")
    service.wait_for_connections(2, timeout=10)


def test_an_option_wins_over_the_environment(service: Emulator, start: Callable[..., object]) -> None:
    start("watch", "--uri", service.uri, "--key", service.key, STREAM_URI="x", AUTO_CONFIG_KEY="y")
    service.wait_for_connections(1, timeout=10)


def test_a_proxy_may_be_given(service: Emulator, start: Callable[..., object]) -> None:
    """A request through a proxy has the whole URL in its first line; the emulator does for one."""
    start("watch", "--uri", "http://stream.example.com", "--key", service.key, "--proxy", service.uri)
    service.wait_for_requests(1, timeout=10)
    assert service.requests[0].target.startswith("http://stream.example.com/relay_auto_config")


def test_certificates_may_be_given(start: Callable[..., object], tmp_path: Path) -> None:
    trustme = pytest.importorskip("trustme")
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    pair = (tmp_path / "server.pem", tmp_path / "server.pem")
    with Emulator(certificate=pair) as service:
        start("watch", "--uri", service.uri, "--key", service.key, "--ca-file", "ca.pem")
        service.wait_for_connections(1, timeout=10)


def test_what_is_wrong_is_one_harmless_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it is about, and wherever a key stands in it."""
    complain("watch", f"no\n'{KEY}'\x1b[2J and sdk-x.sse")
    assert capsys.readouterr().err == "autoconfig watch: no\\n'rel-…cdef'\\x1b[2J and sdk-x.sse\n"
    assert "sdk-rec.sse: No such file" in refused(capsys, "replay", "no/sdk-rec.sse")
    assert "\\x1b[2J" in refused(capsys, "watch", "--timeout", "1", "--\x1b[2J")


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://host/path?key=secret#secret", "https://host/path"),
        ("https://host#secret", "https://host"),
        ("http://user:secret@host:3128", "http://host:3128"),
        ("http://user:se@cret@host:3128/", "http://host:3128/"),
        ("http://user:sec?ret@host:3128", "http://…"),
        ("http://user:sec#ret@host:3128", "http://…"),
        ("http://user:sec/ret@host:3128", "http://…"),
        ("https://host/path?address=secret@secret", "https://…"),
        ("ftp:user:secret@host", "…"),
        ("//user:secret@host", "…"),
        ("http://host/\x1b[2J", "http://host/\\x1b[2J"),
    ],
)
def test_a_uri_is_shown_without_what_may_be_secret(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown
