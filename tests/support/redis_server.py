"""Debian's redis-server, started on a free port for a test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from support.addresses import free_port
from support.waiting import wait_until

_DEADLINE = 60.0  # seconds


class RedisServer:
    """
    A redis-server of its own, in memory.

    Args:
        directory: Where its files are.
        options: More of its options, such as ``--requirepass``.

    Attributes:
        port: The port of 127.0.0.1 that it listens on; with TLS if an option says so.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self._command = ["redis-server", "--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--daemonize", "no"]
        self._command += ["--dir", str(directory), "--logfile", str(directory / "redis.log")]
        self._command += options or ("--port", str(self.port))
        self._command = [part.format(port=self.port) for part in self._command]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, with nothing in it; returns when it listens."""
        self._process = subprocess.Popen(self._command)
        wait_until(self._listens, "redis-server does not listen")

    def _listens(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "redis-server has ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def freeze(self) -> None:
        """Let it answer no more; the kernel still accepts connections."""
        assert self._process
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        assert self._process
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it."""
        if self._process:
            self.thaw()
            self._process.terminate()
            self._process.wait(_DEADLINE)
            self._process = None
