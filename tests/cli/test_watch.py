"""``autoconfig watch`` against the emulator: what it prints, and every way in which it ends."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace
import pytest

from autoconfig.cli import demo, main
from autoconfig.cli import watch as watch_module
from autoconfig.testing import Emulator

Start = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]
PIPE_IS_FULL = 60_000  # bytes; a pipe holds 64 KiB on Linux


@pytest.fixture
def watch(start: Start, service: Emulator) -> Start:
    """Start ``autoconfig watch`` on the service, which has a client when this returns."""

    def watch(*arguments: str, **keywords: Any) -> Any:
        running = start("watch", *arguments, STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key, **keywords)
        service.wait_for_connections(1, timeout=10)
        return running

    return watch


def play(service: Emulator) -> None:
    """Have every kind of change happen."""
    service.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(hours=1))
    service.delete_environment(demo.DOCS.env_id)
    service.delete_filter(demo.EUROPE)


def test_prints_each_call_as_json(watch: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    running = watch("--json")
    lines = [json.loads(running.line()) for _ in range(5)]
    assert [line["call"] for line in lines] == [
        *["add_environment"] * 3,
        "add_filter",
        "received_all_environments",
    ]
    play(service)
    update, delete, delete_filter = (json.loads(running.line()) for _ in range(3))
    assert update["call"] == "update_environment"
    assert update["params"]["sdkKey"] == "sdk-…0c63"
    assert update["params"]["expiringSdkKey"]["value"] == "sdk-…0ae7"
    assert delete == {"call": "delete_environment", "id": demo.DOCS.env_id}
    assert delete_filter == {"call": "delete_filter", "id": demo.EUROPE}
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 130
    no_secrets(running.stdout, running.stderr)
    assert running.stderr == ""


def test_reveals_keys_when_asked(watch: Start) -> None:
    params = json.loads(watch("--json", "--reveal").line())["params"]
    assert (params["sdkKey"], params["mobKey"]) == (demo.PRODUCTION.sdk_key.value, demo.PRODUCTION.mob_key)


def test_prints_a_line_a_change(watch: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    running = watch()
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  following  {service.uri}", running.line())
    assert running.line().endswith("added      Shop / Production  id 64c1f0a2b7e94d0012ab3c01, sdk-…0ae7, mob-…9d14")
    assert running.line("complete").endswith("complete   3 environments, 1 filter")
    play(service)
    assert "updated    Shop / Production  SDK key sdk-…0ae7 → sdk-…0c63, sdk-…0ae7 valid until" in running.line()
    assert running.line().endswith("deleted    Docs / Production")
    assert running.line().endswith("deleted    filter europe of project shop")
    running.process.send_signal(signal.SIGTERM)
    running.ended()
    no_secrets(running.stdout, running.stderr)
    assert "\x1b" not in running.stdout


def test_ends_cleanly_on_sigterm(watch: Start) -> None:
    running = watch()
    running.line("complete")
    running.process.terminate()
    assert running.ended(within=2) == 143
    assert running.stderr == ""


def test_ends_on_ctrl_c_before_it_is_connected(start: Start, service: Emulator) -> None:
    service.stall()
    running = start("watch", "--uri", service.uri, "--key", service.key)
    service.wait_for_requests(1, timeout=10)
    running.process.send_signal(signal.SIGINT)
    assert running.ended(within=2) == 130
    assert running.stderr == ""


def test_tells_of_trouble_on_stderr(watch: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    running = watch("--json")
    running.line("received_all")
    service.drop_connections("eof")
    running.line("received_all")
    running.process.terminate()
    running.ended()
    assert running.stderr.startswith("autoconfig: The stream failed: ")
    assert running.stderr.count("\n") == 1
    no_secrets(running.stderr)


@pytest.mark.parametrize(("option", "expected", "unexpected"), [("-v", "INFO", "DEBUG"), ("-vv", "DEBUG", "rel-")])
def test_logs_more_when_asked(
    option: str, expected: str, unexpected: str, watch: Start, service: Emulator, no_secrets: Callable[..., None]
) -> None:
    running = watch(option)
    running.line("complete")
    service.send_put()
    running.line("complete")
    running.process.terminate()
    running.ended()
    assert expected in running.stderr
    assert unexpected not in running.stderr
    no_secrets(running.stdout, running.stderr)


def test_a_rejected_key_ends_it(service: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    key = "rel-0123456789abcdef0123456789abcdef"
    assert main(["watch", "--json", "--uri", service.uri, "--key", key]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "rejected the auto-configuration key (HTTP status 401)" in err
    assert key not in err


def test_a_key_that_is_rejected_later_ends_it(watch: Start, service: Emulator) -> None:
    running = watch("--json")
    running.line("received_all")
    service.key = "rel-another"
    service.drop_connections("eof")
    assert running.ended() == 3
    assert "rejected" in running.stderr


def test_follows_a_key_file_that_is_rotated(
    start: Start, service: Emulator, tmp_path: Path, no_secrets: Callable[..., None]
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{service.key}\n")
    running = start("watch", "--json", "--uri", service.uri, "--key-file", "key")
    running.line("received_all")
    service.key = "rel-0123456789abcdef-the-next-one"
    file.write_text(f"{service.key}\n")
    service.drop_connections("eof")
    running.line("received_all")
    assert running.process.poll() is None
    no_secrets(running.stdout, running.stderr)
    assert service.key not in running.stdout + running.stderr


def test_a_key_file_may_be_one_that_is_read_only_once(start: Start, service: Emulator) -> None:
    """Such as the shell's `<(pass show launchdarkly)`."""
    reading, writing = os.pipe()
    path = f"/dev/fd/{reading}"
    running = start("watch", "--json", "--uri", service.uri, "--key-file", path, pass_fds=(reading,))
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        file.write(service.key)
    running.line("received_all")
    service.drop_connections("eof")
    assert running.line("received_all")


def test_is_idle_after_its_timeout(service: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it looks at a few times a second, it must not look at all the time."""
    looked: list[float] = []
    end = time.monotonic() + 1.5

    def over() -> bool:
        looked.append(time.monotonic())
        return looked[-1] > end

    monkeypatch.setattr(watch_module, "reader_is_gone", over)
    assert main(["watch", "--json", "--uri", service.uri, "--key", service.key, "--timeout", "0.5"]) == 0
    assert len(looked) < 30


def test_gives_up_when_not_connected_in_time(service: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    service.fail_next(503, times=100)
    began = time.monotonic()
    assert main(["watch", "--uri", service.uri, "--key", service.key, "--timeout", "0.3"]) == 4
    assert time.monotonic() - began < 2
    _, err = capsys.readouterr()
    assert "unexpected HTTP status 503" in err
    assert err.endswith("autoconfig watch: not connected within 0.3 s\n")


def test_the_timeout_is_not_for_what_comes_after_the_connection(watch: Start, service: Emulator) -> None:
    running = watch("--json", "--timeout", "5")
    running.line("received_all")
    service.drop_connections("eof")
    running.line("received_all")
    assert running.process.poll() is None


def test_ends_well_when_its_reader_goes_away(watch: Start) -> None:
    """Nothing changes meanwhile, so nothing that is written can tell it."""
    reading, writing = os.pipe()
    running = watch("--json", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert "add_environment" in lines.readline()
    assert running.ended(within=2) == 0
    assert running.stderr == ""


def test_ends_well_when_its_reader_went_before_the_first_line(start: Start, service: Emulator) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    running = start("watch", "--uri", service.uri, "--key", service.key, stdout=writing)
    os.close(writing)
    assert running.ended() == 0
    assert running.stderr == ""


def test_ends_well_when_the_reader_of_all_goes_away(start: Start, service: Emulator) -> None:
    reading, writing = os.pipe()
    arguments = ("watch", "-v", "--uri", service.uri, "--key", service.key)
    running = start(*arguments, stdout=writing, stderr=writing)
    os.close(writing)
    os.close(reading)
    assert running.ended() == 0


def test_logs_do_not_go_to_stdout_when_there_is_no_stderr(start: Start, service: Emulator) -> None:
    program = ("-c", "import os, sys; os.close(2); os.execv(sys.executable, [sys.executable, '-m', *sys.argv[1:]])")
    arguments = ("autoconfig", "watch", "-vv", "--json", "--uri", service.uri, "--key", service.key)
    running = start(*arguments, program=program)
    running.line("received_all")
    running.process.terminate()
    assert running.ended() == 143
    assert all(json.loads(line) for line in running.stdout.splitlines())


def test_ends_on_ctrl_c_while_its_reader_is_slow(start: Start) -> None:
    many = [replace(demo.PRODUCTION, env_id=f"{number:024x}") for number in range(2000)]
    reading, writing = os.pipe()
    with Emulator(many) as service, os.fdopen(reading):
        running = start("watch", "--json", "--uri", service.uri, "--key", service.key, stdout=writing)
        os.close(writing)
        wait_for(lambda: unread(reading) > PIPE_IS_FULL)
        running.process.send_signal(signal.SIGINT)
        assert running.ended(within=2) == 130
    assert running.stderr == ""


def test_needs_no_stdout(start: Start, service: Emulator) -> None:
    program = ("-c", "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', *sys.argv[1:]])")
    running = start("autoconfig", "watch", "--uri", service.uri, "--key", service.key, program=program)
    service.wait_for_connections(1, timeout=10)
    running.process.terminate()
    assert running.ended() == 143
    assert running.stderr == ""


def test_writes_what_its_encoding_lacks_as_escapes(watch: Start, service: Emulator) -> None:
    running = watch(PYTHONIOENCODING="ascii")
    assert r"sdk-\u20260ae7" in running.line("Production")


def test_leaves_the_callers_signal_handler_and_logger_alone(service: Emulator) -> None:
    before = signal.getsignal(signal.SIGTERM)
    main(["watch", "--uri", service.uri, "--key", "rel-x"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_runs_outside_the_main_thread(service: Emulator) -> None:
    """There are no signals there, but all else works."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["watch", "--uri", service.uri, "--key", "rel-x"])))
    thread.start()
    thread.join(10)
    assert codes == [3]


def test_an_installed_script_does_the_same(service: Emulator, environment: dict[str, str]) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "autoconfig")
    if not os.path.exists(script):
        pytest.skip("the package is not installed with its script")
    arguments = [script, "watch", "--uri", service.uri, "--key", "rel-x"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 3


def unread(descriptor: int) -> int:
    """Return how many bytes wait in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])


def wait_for(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until something is so that nothing tells of."""
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.02)
