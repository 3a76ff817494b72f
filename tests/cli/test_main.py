"""The program: exit codes, signals at any moment, and what it says without its extra."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.threads import at_once, wait_until_asleep

from autoconfig.cli import main
from autoconfig.testing import Emulator

Start = Callable[..., Any]


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_how_to_install_it(missing: str, run: Callable[..., Any]) -> None:
    program = (
        f"import sys, importlib.util as util; found = util.find_spec;"
        f"util.find_spec = lambda name, *rest: None if name == '{missing}' else found(name, *rest);"
        "from autoconfig.__main__ import main; sys.exit(main())"
    )
    code, out, err = run("--help", program=("-c", program))
    assert (code, out) == (2, "")
    assert err == f"autoconfig: error: the command: needs {missing}\n  try: pip install 'ld-autoconfig[cli]'\n"


# Each is a line that Python writes when it has imported a module, so the process is in the middle of its imports then.
@pytest.mark.parametrize("moment", ["autoconfig.cli", "click", "requests", "autoconfig.manager"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_during_the_imports_ends_it_silently(
    moment: str, number: int, code: int, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "autoconfig", "watch", "--uri", "http://127.0.0.1:9"]
    process = subprocess.Popen(
        [*command, "--key", "rel-x"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    with process.stderr as lines:
        seen = False
        for line in lines:
            seen = seen or line.split("|")[-1].strip() == "autoconfig"  # before that it is Python's own start
            if seen and line.split("|")[-1].strip() == moment:
                break
        process.send_signal(number)
        rest = lines.read()
    assert process.wait(20) == code
    assert "Traceback" not in rest
    assert "KeyboardInterrupt" not in rest


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_that_interrupts_no_system_call_ends_it(number: int, code: int, tmp_path: Path) -> None:
    """As one that comes right before such a call; here another thread gets it."""
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor() as threads:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"

        def send() -> socket.socket:
            connection = silent.accept()[0]
            assert connection.recv(1)
            wait_until_asleep(os.getpid())
            signal.pthread_kill(threading.get_ident(), number)
            return connection

        connection = threads.submit(send)
        with at_once():  # and not only after the minute for which the service may be silent
            try:
                ended = main(["fetch-archive", "--uri", uri, "--key", "rel-x", "--output", str(tmp_path / "archive")])
            except SystemExit as end:
                ended = end.code
        connection.result().close()
    assert ended == code


def test_the_callers_signal_handlers_are_left_alone(service: Emulator) -> None:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGURG]
    before = [signal.getsignal(number) for number in numbers]
    main(["watch", "--uri", service.uri, "--key", "rel-x"])
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.set_wakeup_fd(-1) == -1
