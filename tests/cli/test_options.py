"""The arguments of the commands, and how wrong ones are refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli.findings import DEADLINE

from autoconfig.cli import main
from autoconfig.cli.commands import cli
from autoconfig.testing import Emulator
from autoconfig.version import __version__

KEY = "rel-0123456789abcdef0123456789abcdef"
COMMANDS = sorted(cli.commands)
Run = Callable[..., tuple[int, str, str]]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which must refuse the arguments; return what it says: what is wrong, and what to try."""
    code = main(arguments)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("autoconfig: error: ")
    assert second.startswith("  try: ")
    assert KEY not in err
    return err


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"autoconfig {__version__}\n", "")


def test_without_arguments_there_is_help(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert [name for name in COMMANDS if name not in out] == []
    assert "Exit codes:" in out


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)], ids=["all", *COMMANDS])
def test_help_fits_a_terminal_of_80_columns(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*command, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["watch", "snapshot", "doctor"])
def test_the_help_names_the_environment_variables(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    words = capsys.readouterr().out
    for name in ("STREAM_URI", "AUTO_CONFIG_KEY", "AUTO_CONFIG_KEY_FILE", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"):
        assert name in words


@pytest.mark.parametrize(
    ("arguments", "name", "problem"),
    [
        (["wacht"], "COMMAND", "there is no command 'wacht'"),
        (["watch"], "AUTO_CONFIG_KEY", "there is no auto-configuration key"),
        (["watch", "--key", ""], "--key", "must not be empty"),
        (["watch", "--key", f"{KEY}\n"], "--key", "must be printable ASCII"),
        (["watch", "--key", KEY, "--uri", "stream.example.com"], "--uri", "must be an http:// or https:// URL"),
        (["watch", "--key", KEY, "--uri", ""], "--uri", "must be"),
        (["watch", "--key", KEY, "--uri", "http://host:port"], "--uri", "must be"),
        (["watch", "--key", KEY, "--proxy", "proxy:8080"], "--proxy", "must be"),
        (["watch", "--key", KEY, "--proxy", "socks9://proxy:1080"], "--proxy", "must be"),
        (["watch", "--key", KEY, "--proxy", "socks5h://"], "--proxy", "must be"),
        (["watch", "--key", KEY, "--ca-file", "nowhere.pem"], "--ca-file", "the file does not exist or cannot"),
        (["watch", "--key-file", "nowhere"], "--key-file", "cannot read the file: No such file or directory"),
        (["watch", "--key-file", "."], "--key-file", "cannot read the file: Is a directory"),
        (["watch", "--key", KEY, "--key-file", "x"], "--key-file", "cannot be given together with --key"),
        (["watch", "--key", KEY, "--timeout", "soon"], "--timeout", "must be a number of seconds above zero"),
        (["watch", "--key", KEY, "--timeout", "0"], "--timeout", "must be"),
        (["watch", "--key", KEY, "--timeout", "nan"], "--timeout", "must be"),
        (["watch", "--key", KEY, "--plai"], "--plai", "there is no such option"),
        (["snapshot", "--key", KEY, "--json", "--format", "table"], "--json", "cannot be given together"),
        (["snapshot", "--key", KEY, "--format", "yaml"], "--format", "'yaml' is not one of"),
        (["doctor", "--key", KEY, "--heartbeat", "0"], "--heartbeat", "must be"),
        (["replay"], "FILE", "is missing"),
        (["replay", "nowhere.sse"], "FILE", "nowhere.sse: No such file or directory"),
        (["replay", "."], "FILE", ".: Is a directory"),
        (["completion"], "SHELL", "is missing"),
        (["completion", "tcsh"], "SHELL", "'tcsh' is not one of"),
        (["emulate", "--port", "65536"], "--port", "must be a port from 0 to 65535"),
        (["emulate", "--port", "-1"], "--port", "must be a port"),
        (["emulate", "--port"], "--port", "needs a value"),
        (["emulate", "--interval", "0"], "--interval", "must be"),
        (["emulate", "--key", "ключ"], "--key", "must be printable ASCII, with no line break and no space at"),
        (["emulate", "--interval", "2", "x.json"], "--interval", "is for the built-in story"),
        (["emulate", "nowhere.json"], "nowhere.json", "No such file or directory"),
    ],
)
def test_every_error_has_one_style(
    arguments: list[str], name: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(capsys, *arguments).startswith(f"autoconfig: error: {name}: {problem}")


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


def test_what_was_meant_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    assert "  try: autoconfig watch\n" in refused(capsys, "wacth")
    assert "  try: --json\n" in refused(capsys, "watch", "--key", KEY, "--jsn")


@pytest.mark.parametrize("arguments", [["--port"], ["--reveal=1"], ["--port", "x"], ["x", "y"]])
def test_the_help_of_the_command_is_offered(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "  try: autoconfig emulate --help\n" in refused(capsys, "emulate", *arguments)


def test_the_variable_that_is_wrong_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTO_CONFIG_KEY_FILE", str(tmp_path / "nowhere"))
    assert "AUTO_CONFIG_KEY_FILE" in refused(capsys, "watch")
    monkeypatch.setenv("AUTO_CONFIG_KEY", f" {KEY}")
    assert "AUTO_CONFIG_KEY: must be" in refused(capsys, "watch")
    monkeypatch.setenv("AUTO_CONFIG_KEY", KEY)
    monkeypatch.setenv("STREAM_URI", "nowhere")
    assert "STREAM_URI: must be" in refused(capsys, "watch")


def test_a_key_file_must_be_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xff")
    assert "does not hold a key" in refused(capsys, "watch", "--key-file", str(file))


@pytest.mark.parametrize("end", ["", "\n", "\r\n", " \n\n"])
def test_the_key_may_come_from_a_file(
    end: str, service: Emulator, start: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(f"{service.key}{end}".encode())
    start("watch", "--uri", service.uri, "--key-file", "key")
    service.wait_for_connections(1, timeout=DEADLINE)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_key_file_may_be_one_that_windows_wrote(
    encoding: str, service: Emulator, start: Callable[..., object], tmp_path: Path
) -> None:
    """With a byte order mark, as the library takes it."""
    (tmp_path / "key").write_bytes(f"{service.key}\r\n".encode(encoding))
    start("watch", "--uri", service.uri, "--key-file", "key")
    service.wait_for_connections(1, timeout=DEADLINE)


def test_everything_may_come_from_the_environment(
    service: Emulator, start: Callable[..., object], tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(service.key)
    start("watch", STREAM_URI=service.uri, AUTO_CONFIG_KEY_FILE="key")
    service.wait_for_connections(1, timeout=DEADLINE)
    start("watch", STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key, AUTO_CONFIG_KEY_FILE="nowhere")
    service.wait_for_connections(2, timeout=DEADLINE)


def test_an_option_wins_over_the_environment(service: Emulator, start: Callable[..., object]) -> None:
    start("watch", "--uri", service.uri, "--key", service.key, STREAM_URI="x", AUTO_CONFIG_KEY="y")
    service.wait_for_connections(1, timeout=DEADLINE)


def test_a_proxy_may_be_given(service: Emulator, start: Callable[..., object]) -> None:
    """A request through a proxy has the whole URL in its first line; the emulator does for one."""
    start("watch", "--uri", "http://stream.example.com", "--key", service.key, "--proxy", service.uri)
    service.wait_for_requests(1, timeout=DEADLINE)
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
        service.wait_for_connections(1, timeout=DEADLINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_there_is_a_script_for_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "_AUTOCONFIG_COMPLETE" in out


def test_bash_completes_with_it(capsys: pytest.CaptureFixture[str], environment: dict[str, str]) -> None:
    bash, script = shutil.which("bash"), os.path.join(os.path.dirname(sys.executable), "autoconfig")
    if bash is None or not os.path.exists(script):
        pytest.skip("there is no bash, or the package is not installed with its script")
    main(["completion", "bash"])
    text = capsys.readouterr().out
    ask = (
        f"\nCOMP_WORDS=({script} snapshot --for); COMP_CWORD=2; _autoconfig_completion {script}"
        "; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    arguments = [bash, "-c", text + ask]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (done.stdout, done.stderr) == ("--format\n", "")


def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    program = (
        "import sys; from autoconfig.__main__ import main; main(['watch', '--help']);"
        "print(*{'requests', 'urllib3', 'ssl', 'msgspec', 'rich', 'attr', 'logging'} & sys.modules.keys())"
    )
    arguments = [sys.executable, "-c", program]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.stdout.splitlines()[-1] == ""
