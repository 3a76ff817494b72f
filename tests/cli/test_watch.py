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

import pytest
from cli.findings import DEADLINE
from cli.plain_service import PlainService, environment, patch, put
from msgspec.structs import replace
from support.waiting import wait_until

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
        service.wait_for_connections(1, timeout=DEADLINE)
        return running

    return watch


def play(service: Emulator) -> None:
    """Have every kind of change happen."""
    service.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(hours=1))
    service.delete_environment(demo.DOCS.env_id)
    service.delete_filter(demo.EUROPE)


def calls_of(running: Any, last: str) -> list[dict[str, Any]]:
    """Return the JSON objects up to the one of a call."""
    found: list[dict[str, Any]] = []
    while not found or found[-1].get("call") != last:
        found.append(json.loads(running.line()))
    return found


def test_prints_each_event_as_json(watch: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    running = watch("--json")
    first = calls_of(running, "received_all_environments")
    assert [one["call"] for one in first if "call" in one] == [
        *["add_environment"] * 3,
        "add_filter",
        "received_all_environments",
    ]
    assert [one["status"]["state"] for one in first if "status" in one] == ["VALID"]
    play(service)
    update, delete, delete_filter = calls_of(running, "delete_filter")
    assert update["call"] == "update_environment"
    assert update["params"]["envId"] == update["id"] == demo.PRODUCTION.env_id
    assert update["params"]["sdkKey"]["value"] == "sdk-…0c63"
    assert update["params"]["sdkKey"]["expiring"]["value"] == "sdk-…0ae7"
    assert delete == {"time": delete["time"], "call": "delete_environment", "id": demo.DOCS.env_id}
    assert delete_filter == {"time": delete_filter["time"], "call": "delete_filter", "id": demo.EUROPE}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"]) for one in [*first, update])
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 130
    no_secrets(running.stdout, running.stderr)
    assert running.stderr == ""


def test_reveals_keys_when_asked(watch: Start) -> None:
    params = calls_of(watch("--json", "--reveal"), "add_environment")[-1]["params"]
    assert (params["sdkKey"]["value"], params["mobKey"]) == (demo.PRODUCTION.sdk_key.value, demo.PRODUCTION.mob_key)


def test_prints_a_line_a_change(watch: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    running = watch()
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  following    {service.uri}", running.line())
    line = running.line("added")
    assert line.endswith("added        Shop / Production  id 64c1f0a2b7e94d0012ab3c01, sdk-…0ae7, mob-…9d14")
    assert running.line("complete").endswith("complete     3 environments, 1 filter")
    play(service)
    assert "Shop / Production  SDK key sdk-…0ae7 → sdk-…0c63, sdk-…0ae7 until" in running.line("updated")
    assert running.line("deleted").endswith("deleted      Docs / Production")
    assert running.line("deleted").endswith("deleted      filter europe of project shop")
    running.process.send_signal(signal.SIGTERM)
    running.ended()
    no_secrets(running.stdout, running.stderr)
    assert "\x1b" not in running.stdout


def test_says_when_the_stream_is_interrupted_and_when_it_is_back(watch: Start, service: Emulator) -> None:
    running = watch()
    running.line("complete")
    service.fail_next(503)
    service.drop_connections()
    assert "; next attempt in " in running.line("INTERRUPTED")
    assert "503; next attempt in " in running.line("INTERRUPTED")
    assert re.search(r"VALID        the stream is back after \d+ s$", running.line("VALID"))
    assert running.process.poll() is None


def test_says_in_json_when_the_stream_is_interrupted_and_when_it_is_back(watch: Start, service: Emulator) -> None:
    running = watch("--json")
    calls_of(running, "received_all_environments")
    service.drop_connections()
    found = calls_of(running, "received_all_environments")
    states = [one["status"] for one in found if "status" in one]
    assert [status["state"] for status in states] == ["INTERRUPTED", "VALID"]
    assert states[0]["lastError"]["kind"] == "NETWORK_ERROR"
    assert states[0]["nextRetryAt"]


def test_follows_one_project_only(watch: Start, service: Emulator) -> None:
    running = watch("--project", "Shop")
    running.line("complete")
    service.delete_environment(demo.DOCS.env_id)
    service.delete_filter(demo.EUROPE)
    running.line("filter europe")
    assert "Docs" not in running.stdout
    assert "Shop / Staging" in running.stdout


def test_follows_what_the_service_sends(start: Start) -> None:
    """From a server that shares no code with the library; one environment is refused, and then mended."""
    oak, ash = environment("oak", "日本 oak"), environment("ash", "Ash")
    bad = environment("ash", "Ash", sdkKeys=[{"key": "default", "value": ""}])
    with PlainService(put(oak, bad), put(oak, ash)) as service:
        running = start("watch", "--uri", service.uri, AUTO_CONFIG_KEY="rel-x")
        assert "Quay / 日本 oak  id oak, sdk-…cdef, sdk-…89ab, mob-…cdef" in running.line("added")
        assert "ash  sdkKeys has an entry without a value" in running.line("refused")
        running.line("complete")
        service.send(patch(environment("oak", "Elm", version=2)))
        assert running.line("updated").endswith("name 日本 oak → Elm, key 日本 oak → elm")
        assert running.stdout.count("connected") == 1  # although the status has changed: one is refused now
        service.cut()
        running.line("INTERRUPTED")
        running.line("is back")
        assert "Ash  id ash" in running.line("added")


def test_ends_cleanly_on_sigterm(watch: Start) -> None:
    running = watch()
    running.line("complete")
    running.process.terminate()
    assert running.ended() == 143
    assert running.stderr == ""


def test_ends_on_ctrl_c_before_it_is_connected(start: Start, service: Emulator) -> None:
    service.stall()
    running = start("watch", "--uri", service.uri, "--key", service.key)
    service.wait_for_requests(1, timeout=DEADLINE)
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 130
    assert running.stderr == ""


@pytest.mark.parametrize(("option", "expected", "unexpected"), [("-v", "INFO", "DEBUG"), ("-vv", "DEBUG", "rel-")])
def test_logs_more_when_asked(
    option: str, expected: str, unexpected: str, watch: Start, service: Emulator, no_secrets: Callable[..., None]
) -> None:
    running = watch(option)
    running.line("complete")
    service.set_environment(replace(demo.STAGING, env_name="QA"))
    running.line("updated")
    service.send_put()  # of which DEBUG lines say that the client has all of it
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
    assert [json.loads(line)["status"]["state"] for line in out.splitlines()] == ["OFF"]
    assert err.splitlines()[0] == "autoconfig: error: --key: the service rejected the key (HTTP status 401)"
    assert err.splitlines()[1].startswith("  try: ")
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
    end = time.monotonic() + 5

    def over() -> bool:
        looked.append(time.monotonic())
        return looked[-1] > end

    monkeypatch.setattr(watch_module, "reader_is_gone", over)
    assert main(["watch", "--json", "--uri", service.uri, "--key", service.key, "--timeout", "3"]) == 0
    assert len(looked) < 100


def test_gives_up_when_not_connected_in_time(service: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    service.fail_next(503, times=100)
    began = time.monotonic()
    assert main(["watch", "--uri", service.uri, "--key", service.key, "--timeout", "2"]) == 4
    assert time.monotonic() - began < 30
    _, err = capsys.readouterr()
    assert err.startswith("autoconfig: error: --timeout: not connected within 2 s: ")
    assert "503" in err


def test_the_timeout_is_not_for_what_comes_after_the_connection(watch: Start, service: Emulator) -> None:
    running = watch("--json", "--timeout", "30")
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
        assert lines.readline()
    assert running.ended() == 0
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
        wait_until(lambda: unread(reading) > PIPE_IS_FULL)
        running.process.send_signal(signal.SIGINT)
        assert running.ended() == 130
    assert running.stderr == ""


def test_needs_no_stdout(start: Start, service: Emulator) -> None:
    program = ("-c", "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, '-m', *sys.argv[1:]])")
    running = start("autoconfig", "watch", "--uri", service.uri, "--key", service.key, program=program)
    service.wait_for_connections(1, timeout=DEADLINE)
    running.process.terminate()
    assert running.ended() == 143
    assert running.stderr == ""


def test_writes_what_its_encoding_lacks_as_escapes(watch: Start, service: Emulator) -> None:
    running = watch(PYTHONIOENCODING="ascii")
    assert r"sdk-\u20260ae7" in running.line("Production")


def test_runs_outside_the_main_thread(service: Emulator) -> None:
    """There are no signals there, but all else works."""
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(["watch", "--uri", service.uri, "--key", "rel-x"])))
    thread.start()
    thread.join(30)
    assert codes == [3]


def test_an_installed_script_does_the_same(service: Emulator, environment: dict[str, str]) -> None:
    script = os.path.join(os.path.dirname(sys.executable), "autoconfig")
    if not os.path.exists(script):
        pytest.skip("the package is not installed with its script")
    arguments = [script, "watch", "--uri", service.uri, "--key", "rel-x"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert done.returncode == 3


def unread(descriptor: int) -> int:
    """Return how many bytes wait in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, b"\0" * 4))[0])
