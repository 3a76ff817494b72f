"""``autoconfig emulate``: a service in a process, from a file or with a demo."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cli.findings import DEADLINE
from cli.plain_service import environment
from support.addresses import free_port
from support.recorder import Recorder

from autoconfig import StreamManager
from autoconfig.cli import emulate, main
from autoconfig.cli.emulate import STORY, follow_file, guests, load, signature
from autoconfig.testing import DEMO_KEY, Emulator

Start = Callable[..., Any]
KEY = "rel-0123456789abcdef0123456789abcdef"


def configuration(**names: str) -> str:
    """Return a configuration with an environment of each name."""
    environments = {
        id: {"envName": name, "projName": "Shop", "sdkKey": {"value": "sdk-1"}} for id, name in names.items()
    }
    return json.dumps({"environments": environments, "filters": {"f": {"projKey": "shop", "key": "europe"}}})


def follow(uri: str, key: str = DEMO_KEY) -> tuple[StreamManager, Recorder]:
    recorder = Recorder()
    return StreamManager(key, uri, recorder, initial_retry_delay=0.05), recorder


def uri_of(running: Any) -> str:
    return str(running.line("URI").split()[1])


def test_prints_a_command_that_follows_it(start: Start) -> None:
    running = start("emulate", "--port", "0")
    words = shlex.split(running.line("watch"))
    assert words[:-5] in (["autoconfig"], [sys.executable, "-m", "autoconfig"])
    assert words[-4] == "--uri"
    assert words[-2:] == ["--key", DEMO_KEY]
    assert start(*words[-5:], "--json").line("received_all")


def test_plays_the_story(start: Start) -> None:
    running = start("emulate", "--port", "0", "--interval", "0.1")
    manager, recorder = follow(uri_of(running))
    with manager:
        recorder.wait_for("add_environment")
        recorder.wait_for("update_environment", DEADLINE, lambda params: params.expiring_sdk_key is not None)
        recorder.wait_for("delete_environment", DEADLINE)
        recorder.wait_for("delete_filter", DEADLINE)
    running.line("a client connected")
    running.line("1 client disconnected")
    assert "renames Shop / Staging to QA" in running.stdout
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 130
    assert running.stderr == ""


def test_a_short_interval_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be shorter than the time between two looks at a file."""
    lines: list[str] = []

    def note(text: str) -> None:
        lines.append(text)
        if "deletes the payload filter" in text:
            raise KeyboardInterrupt

    monkeypatch.setattr(emulate, "_GLANCE", 3600.0)
    monkeypatch.setattr(emulate, "put_line", note)
    with pytest.raises(KeyboardInterrupt):
        emulate.run(file=None, host="127.0.0.1", port=0, key=None, interval=0.001, reveal=False)
    assert "renames Shop / Staging to QA" in "".join(lines)


def test_every_change_of_the_story_can_be_made_again_and_again(service: Emulator) -> None:
    for text, play in [*STORY.items()] * 3:
        before = (service.environments, service.filters)
        play(service, timedelta(seconds=1))
        assert (service.environments, service.filters) != before, text


def test_follows_a_file(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "service.json"
    file.write_text(configuration(a="One"))
    running = start("emulate", "service.json", "--port", "0")
    manager, recorder = follow(uri_of(running))
    with manager:
        assert recorder.wait_for("add_environment").identifiers.env_name == "One"
        assert recorder.wait_for("add_filter").key == "europe"
        file.write_text(configuration(a="Uno", b="Two"))
        assert recorder.wait_for("update_environment", DEADLINE).identifiers.env_name == "Uno"
        assert recorder.wait_for("add_environment").identifiers.env_name == "Two"
        replacement = tmp_path / "new.json"
        replacement.write_text(configuration(b="Two"))
        replacement.replace(file)
        assert recorder.wait_for("delete_environment", DEADLINE) == "a"
    running.line("service.json has changed: 2 environments, 1 filter")
    running.line("service.json has changed: 1 environment, 1 filter")


@pytest.mark.parametrize("form", ["{}", "data: {}", '{{"path":"/","data":{}}}', 'data:{{"path":"/","data":{}}}\n'])
def test_takes_a_puts_own_data_line(form: str, tmp_path: Path) -> None:
    content = json.dumps({"environments": {"oak": environment("oak", "Oak", version=7)}}, separators=(",", ":"))
    (tmp_path / "put").write_text(form.format(content))
    (rep,), filters = load(tmp_path / "put")
    assert rep.to_json() == environment("oak", "Oak", version=7)
    assert not filters


def test_a_broken_file_changes_nothing_and_is_told_once(
    service: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "service.json"
    file.write_text(configuration(a="One"))
    service.replace(*load(file))
    changes = follow_file(file, service, signature(file))
    before = service.environments
    file.write_text('{"environments": {"a": {"sdkKey": {"value": 7')
    assert [next(changes) for _ in range(3)] == [None] * 3
    err = capsys.readouterr().err
    assert err.startswith(f"autoconfig: warning: {file}: not JSON: ")
    assert err.count("\n") == 1
    file.write_text('{"environments": {"a": {"sdkKey": "sdk-secret-secret-secret"}}}')
    assert next(changes) is None
    err = capsys.readouterr().err
    assert "environments.a.sdkKey" in err
    assert "secret" not in err
    file.unlink()
    assert [next(changes) for _ in range(3)] == [None] * 3
    assert "No such file or directory; the previous configuration is still served" in capsys.readouterr().err
    file.write_bytes(b"\xff")
    assert next(changes) is None
    assert "not UTF-8 text" in capsys.readouterr().err
    assert service.environments == before
    file.write_text(configuration(a="One", b="Two"))
    assert next(changes) is not None
    assert service.environments["a"] == before["a"], "what is as before keeps its version"


def test_a_key_in_the_place_of_the_file_is_not_shown_later_either(
    service: Emulator, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / KEY
    file.write_text(configuration(a="One"))
    changes = follow_file(file, service, signature(file))
    file.write_text("{")
    assert next(changes) is None
    out, err = capsys.readouterr()
    assert "rel-…cdef: not JSON" in err
    assert KEY not in out + err


def test_each_request_is_told_once_however_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.testing.emulator._KEPT", 3)
    with Emulator() as service, requests.Session() as session:
        visits = guests(service)
        for count, lines in ((5, 3), (0, 0), (2, 2)):
            for _ in range(count):
                session.get(service.uri, timeout=30)
            assert list(iter(visits.__next__, None)) == ["a request was refused with status 404"] * lines


def test_a_new_run_is_newer_than_the_last(start: Start, tmp_path: Path) -> None:
    """A client that was there all the time would otherwise take the new configuration for an old message."""
    (tmp_path / "service.json").write_text(configuration(a="One"))
    port = str(free_port())
    first = start("emulate", "service.json", "--port", port)
    uri = uri_of(first)
    manager, recorder = follow(uri)
    with manager:
        recorder.wait_for("received_all_environments")
        first.process.terminate()
        assert first.ended() == 143
        (tmp_path / "service.json").write_text(configuration(a="Uno"))
        start("emulate", "service.json", "--port", port)
        assert recorder.wait_for("update_environment", DEADLINE).identifiers.env_name == "Uno"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "must be an object"),
        (b"\xff", "not UTF-8 text"),
        (b'{"x": 1}', "neither environments nor filters"),
    ],
)
def test_needs_a_file_that_it_can_serve(
    text: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "service.json"
    file.write_bytes(text)
    assert main(["emulate", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"autoconfig: error: {file}: ")
    assert words in err
    assert "\n  try: give what `autoconfig snapshot --json --reveal` prints" in err


def test_a_given_key_is_masked(start: Start) -> None:
    running = start("emulate", "--port", "0", "--key", KEY)
    manager, _ = follow(uri_of(running), KEY)
    manager.start().result(DEADLINE)
    manager.close()
    running.line("a client connected")
    running.line("1 client disconnected")
    running.process.terminate()
    running.ended()
    assert "rel-…cdef" in running.stdout
    assert "  AUTO_CONFIG_KEY=YOUR-KEY " in running.stdout
    assert "--key" not in running.stdout
    assert KEY not in running.stdout + running.stderr


def test_a_given_key_is_shown_when_asked(start: Start) -> None:
    running = start("emulate", "--port", "0", "--key", KEY, "--reveal")
    assert running.line("watch").endswith(f"--key {KEY}")


def test_tells_of_a_wrong_key(start: Start) -> None:
    running = start("emulate", "--port", "0")
    manager, _ = follow(uri_of(running), KEY)
    with manager:
        running.line("a request was refused with status 401")


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["emulate", "--port", str(port)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"autoconfig: error: --port: cannot listen on 127.0.0.1:{port}: Address already in use\n  try: "
    )


def test_an_address_of_another_machine_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulate", "--host", "192.0.2.1"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("autoconfig: error: --port: cannot listen on 192.0.2.1:8765: Cannot assign requested address")


@pytest.mark.parametrize("host", ["300.1.1.1", "", "ä" * 70])
def test_a_host_that_is_none_is_one_line(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not one about the port, to which there is nothing to be done."""
    assert main(["emulate", "--host", host]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"autoconfig: error: --host: cannot look up {host}: ")
    assert "Unknown error" not in err


def test_ends_well_when_its_reader_goes_away(start: Start) -> None:
    reading, writing = os.pipe()
    running = start("emulate", "--port", "0", "--interval", "60", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert "Serving" in lines.readline()
    assert running.ended() == 0
    assert running.stderr == ""
