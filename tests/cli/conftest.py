"""The command as its users run it: in a process of its own, with nothing of ours in its environment."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import queue
import re
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import pytest
from cli.findings import DEADLINE, KEY, NAMES, PASSWORD, Examine, Findings
from support.addresses import free_port
from support.tls import authority

from autoconfig.cli import demo, main
from autoconfig.testing import DEMO_KEY, Emulator

OURS = re.compile(r"STREAM_URI|AUTO_CONFIG_KEY.*|NO_COLOR|COLUMNS|LINES|TERM|(REQUESTS|CURL)_CA_BUNDLE")
ESCAPE = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]")
# Makes the terminal on stdin the process's own, so that Ctrl-C typed there reaches it, and then becomes the command.
TAKE_TERMINAL = """\
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
SECRETS = [DEMO_KEY, demo.NEW_SDK_KEY] + [
    key for rep in (demo.PRODUCTION, demo.STAGING, demo.DOCS, demo.PREVIEW) for key in (rep.sdk_key.value, rep.mob_key)
]


class Running:
    """
    A process, and what it has written so far.

    Attributes:
        process: The process.
        stdout: All lines of its stdout so far, as one text; complete after :meth:`ended`.
        stderr: The same of its stderr.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str], cwd: Path, **options: Any) -> None:
        self.process = subprocess.Popen(
            arguments, env=environment, cwd=cwd, text=True, encoding="utf-8",
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )  # fmt: skip
        self.stdout = self.stderr = ""
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read, args=(name, stream))
            for name in ("stdout", "stderr")
            if (stream := getattr(self.process, name)) is not None
        ]
        for reader in self._readers:
            reader.start()

    def line(self, containing: str = "") -> str:
        """Return the next line of stdout that contains the text."""
        deadline = time.monotonic() + DEADLINE
        while True:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line with {containing!r}; stdout:\n{self.stdout}\n{self.stderr}") from None
            if containing in line:
                return line

    def ended(self, within: float = DEADLINE) -> int:
        """Wait for the end of the process, and return its exit code."""
        code = self.process.wait(within)
        for reader in self._readers:
            reader.join(DEADLINE)
        return code

    def close(self) -> None:
        """Make sure that nothing is left of it; gently, because what is killed reports no coverage."""
        self.process.terminate()
        try:
            self.ended()
        finally:
            self.process.kill()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, name: str, stream: IO[str]) -> None:
        for line in stream:
            setattr(self, name, getattr(self, name) + line)
            if name == "stdout":
                self._lines.put(line.rstrip("\n"))


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

    def ended(self, within: float = DEADLINE) -> int:
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


@pytest.fixture(autouse=True)
def nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what the command reads out of this process's environment too."""
    for name in filter(OURS.fullmatch, list(os.environ)):
        monkeypatch.delenv(name)


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment without what the command takes from it."""
    return {name: value for name, value in os.environ.items() if not OURS.fullmatch(name)}


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start ``autoconfig`` with arguments, and with keywords for environment variables and Popen's options."""
    running: list[Running] = []

    def start(*arguments: str, program: tuple[str, ...] = ("-m", "autoconfig"), **keywords: Any) -> Running:
        variables = {name: keywords.pop(name) for name in list(keywords) if name.isupper() or name.endswith("_proxy")}
        command = [sys.executable, "-W", "always::ResourceWarning", *program, *arguments]
        running.append(Running(command, environment | variables, tmp_path, **keywords))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture
def run(start: Callable[..., Running]) -> Callable[..., tuple[int, str, str]]:
    """Run ``autoconfig`` to its end; return its exit code, stdout and stderr."""

    def run(*arguments: str, **keywords: Any) -> tuple[int, str, str]:
        running = start(*arguments, **keywords)
        return running.ended(), running.stdout, running.stderr

    return run


@pytest.fixture
def service() -> Iterator[Emulator]:
    """A service with the environments and filters of the built-in demo."""
    with Emulator(demo.ENVIRONMENTS, demo.FILTERS, port=free_port()) as emulator:
        yield emulator


@pytest.fixture
def reached(service: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """The service, which the command is told of by the environment."""
    monkeypatch.setenv("STREAM_URI", service.uri)
    monkeypatch.setenv("AUTO_CONFIG_KEY", service.key)
    return service


@pytest.fixture
def no_secrets() -> Callable[..., None]:
    """Fail if a text holds a secret of the demo."""

    def check(*texts: str) -> None:
        assert not [secret for secret in SECRETS for text in texts if secret in text]

    return check


@pytest.fixture
def terminal(environment: dict[str, str], tmp_path: Path, service: Emulator) -> Iterator[Callable[..., Terminal]]:
    """Start ``autoconfig watch``, or another command, in a terminal of so many columns."""
    terminals: list[Terminal] = []
    environment |= {"STREAM_URI": service.uri, "AUTO_CONFIG_KEY": service.key}

    def start(
        *arguments: str,
        command: str = "watch",
        columns: int = 120,
        program: tuple[str, ...] = ("-m", "autoconfig"),
        **more: Any,
    ) -> Terminal:
        terminals.append(Terminal(columns, environment | more, tmp_path, *program, command, *arguments))
        return terminals[-1]

    yield start
    for one in terminals:
        one.close()


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str], no_secrets: Callable[..., None]) -> Examine:
    """Run the doctor; return its exit code and what it found, by the name of the check."""

    def examine(*arguments: str) -> tuple[int, Findings]:
        code = main(["doctor", "--json", *arguments])
        out, err = capsys.readouterr()
        no_secrets(out, err)
        assert KEY not in out + err
        assert PASSWORD not in out + err
        found = [json.loads(line) for line in out.splitlines()]
        assert [one["check"] for one in found] == NAMES
        return code, {one["check"]: one for one in found}

    return examine


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Start an emulator with a certificate for a name."""
    running: list[Emulator] = []

    def certified(name: str = "127.0.0.1", **validity: datetime) -> Emulator:
        pem = tmp_path / "server.pem"
        authority().issue_cert(name, **validity).private_key_and_cert_chain_pem.write_to_path(pem)
        running.append(Emulator(demo.ENVIRONMENTS, certificate=(pem, pem)))
        running[-1].start()
        return running[-1]

    yield certified
    for one in running:
        one.close()
