"""The live table, on a pseudo-terminal with the command in control of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from autoconfig.cli import story
from autoconfig.testing import Emulator

pytest.importorskip("rich")

DEADLINE = 10.0  # seconds
ESCAPE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")
# Makes the terminal on stdin the process's own, so that Ctrl-C typed there reaches it, and then becomes the command.
TAKE_TERMINAL = """\
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """
    A terminal with the command in it.

    Attributes:
        screen: All that was written so far, escape sequences included.
    """

    def __init__(self, columns: int, environment: dict[str, str], cwd: Path, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        command = [sys.executable, "-c", TAKE_TERMINAL, *arguments]
        environment = {"TERM": "xterm-256color"} | environment
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment, cwd=cwd)
        self.slave = slave
        self.screen = ""

    def wait_for(self, words: str) -> None:
        """Read until the last that was drawn holds the words."""
        deadline = time.monotonic() + DEADLINE
        while words not in self.text():
            assert time.monotonic() < deadline, f"no {words!r} in:\n{self.text()}"
            self._read(0.1)

    def text(self) -> str:
        """Return what was written so far without escape sequences."""
        return ESCAPE.sub("", self.screen)

    def type(self, keys: bytes) -> None:
        """Type."""
        os.write(self.master, keys)

    def ended(self, within: float = 2.0) -> int:
        """Wait for the end of the command; return its exit code."""
        deadline = time.monotonic() + within
        while self.process.poll() is None and time.monotonic() < deadline:
            self._read(0.02)
        code = self.process.wait(0)
        self._read(0.1)
        return code

    def close(self) -> None:
        """Make sure that nothing is left of it; gently, because what is killed reports no coverage."""
        self.process.terminate()
        try:
            self.ended(within=DEADLINE)
        finally:
            self.process.kill()
        os.close(self.slave)
        os.close(self.master)

    def _read(self, timeout: float) -> None:
        if select.select([self.master], [], [], timeout)[0]:
            self.screen += os.read(self.master, 65536).decode("utf-8", "replace")


@pytest.fixture
def terminal(environment: dict[str, str], tmp_path: Path, service: Emulator) -> Iterator[Callable[..., Terminal]]:
    """Start ``autoconfig watch`` in a terminal of so many columns."""
    terminals: list[Terminal] = []
    environment |= {"STREAM_URI": service.uri, "AUTO_CONFIG_KEY": service.key}

    def start(
        *arguments: str, columns: int = 120, program: tuple[str, ...] = ("-m", "autoconfig"), **more: Any
    ) -> Terminal:
        terminals.append(Terminal(columns, environment | more, tmp_path, *program, "watch", *arguments))
        return terminals[-1]

    yield start
    for one in terminals:
        one.close()


def test_shows_a_row_for_each_environment(
    terminal: Callable[..., Terminal], service: Emulator, no_secrets: Callable[..., None]
) -> None:
    shown = terminal()
    shown.wait_for(f"● following  {service.uri}  3 environments")
    for words in ("Project", "Mobile key", "Shop", "Staging", story.STAGING.env_id, "sdk-…d479", "mob-…5c27"):
        shown.wait_for(words)
    shown.wait_for("Filters: europe (shop)")
    service.rotate_sdk_key(story.PRODUCTION.env_id, story.NEW_SDK_KEY, timedelta(hours=2))
    shown.wait_for("sdk-…0ae7 1 h 59 min")
    service.delete_environment(story.DOCS.env_id)
    shown.wait_for("deleted 0 s ago")
    no_secrets(shown.screen)


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Callable[..., Terminal]) -> None:
    shown = terminal()
    shown.wait_for("following")
    shown.type(b"\x03")
    assert shown.ended() == 130
    assert shown.screen.rindex("\x1b[?25h") > shown.screen.rindex("\x1b[?25l"), "the cursor is visible again"
    assert termios.tcgetattr(shown.slave) == shown.before
    assert "Traceback" not in shown.screen


def test_sigterm_leaves_the_terminal_as_it_was(terminal: Callable[..., Terminal]) -> None:
    shown = terminal()
    shown.wait_for("following")
    shown.process.send_signal(signal.SIGTERM)
    assert shown.ended() == 143
    assert shown.screen.rindex("\x1b[?25h") > shown.screen.rindex("\x1b[?25l")


def test_tells_of_an_interruption_and_of_its_end(terminal: Callable[..., Terminal], service: Emulator) -> None:
    shown = terminal()
    shown.wait_for("following")
    service.fail_next(503)
    service.drop_connections()
    shown.wait_for("● interrupted")
    shown.wait_for("HTTP status 503")
    shown.screen = ""
    shown.wait_for("● following")


def test_tells_of_a_key_that_is_rejected(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--key", "rel-0123456789abcdef0123456789abcdef")
    assert shown.ended(within=DEADLINE) == 3
    assert "● ended" in shown.text()
    assert "the service rejected the auto-configuration key (HTTP status 401)" in shown.text()


def test_fits_80_columns(terminal: Callable[..., Terminal], service: Emulator) -> None:
    service.rotate_sdk_key(story.PRODUCTION.env_id, story.NEW_SDK_KEY, timedelta(hours=2))
    shown = terminal(columns=80)
    shown.wait_for("Filters:")
    lines = shown.text().replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"mob-…9d14 +none +added \d s$", line.rstrip()) for line in lines)
    shown.wait_for("1 h 59")


def test_does_not_cut_keys_that_are_revealed(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--reveal", columns=200)
    shown.wait_for(story.PRODUCTION.sdk_key.value)
    shown.wait_for(story.PRODUCTION.mob_key)


def test_shows_as_many_rows_as_there_is_room_for(terminal: Callable[..., Terminal], service: Emulator) -> None:
    service.replace([attrs.evolve(story.PRODUCTION, env_id=f"{number:024x}") for number in range(50)])
    shown = terminal()
    shown.wait_for("… and 27 more")


def test_names_cannot_style_the_table(terminal: Callable[..., Terminal], service: Emulator) -> None:
    service.set_environment(attrs.evolve(story.STAGING, env_name="[red]x[/red]\x1b[2J"))
    terminal().wait_for(r"[red]x[/red]\x1b[2J")


def test_plain_lines_on_a_terminal_have_colours(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--plain")
    shown.wait_for("complete   3 environments")
    assert "\x1b[32madded" in shown.screen


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(variables: dict[str, str], terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--plain", **variables)
    shown.wait_for("complete   3 environments")
    assert "\x1b[3" not in shown.screen


def test_json_on_a_terminal_is_json(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--json")
    shown.wait_for('{"call": "received_all_environments"}')
    assert "\x1b" not in shown.screen


def test_without_rich_there_are_lines(terminal: Callable[..., Terminal]) -> None:
    program = "import sys; sys.modules['rich'] = None; from autoconfig.cli import main; sys.exit(main())"
    shown = terminal(program=("-c", program))
    shown.wait_for("pip install 'ld-autoconfig[cli]'")
    shown.wait_for("complete   3 environments")
