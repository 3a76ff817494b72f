"""``autoconfig demo``: it shows what it says it shows, and notices when it does not."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from autoconfig.cli import demo, main
from autoconfig.testing import EnvironmentRep

Run = Callable[..., tuple[int, str, str]]
FIRST, SECOND, *_ = demo.ACTS


def test_plays_the_whole_story(run: Run, no_secrets: Callable[..., None]) -> None:
    code, out, err = run("demo", "--fast")
    assert (code, err) == (0, "")
    for words in (
        "add_environment     Shop / Production  sdk-…0ae7  mob-…9d14",
        "sdk-…7152 until 20",
        "add_filter          filter europe of project shop",
        "name Staging → QA",
        "TTL none → 10 min",
        "SDK key sdk-…0ae7 → sdk-…0c63",
        "sdk-…0ae7 until",
        "delete_environment  Docs / Production",
        "answers the first retry with 503",
        "update_environment  Shop / Production  secure mode off → on",
        "12 calls, and your handler knows what the service has",
        '"Look environments up" in the README',
    ):
        assert words in out
    assert out.count("received_all_environments") == 3
    no_secrets(out)


def test_fits_a_terminal_of_80_columns_and_has_no_colours_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--fast"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--fast", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["service"] for line in lines if "service" in line] == [act.text for act in demo.ACTS]
    calls = [(line["call"], line) for line in lines if "call" in line]
    assert [name for name, _ in calls] == [name for act in demo.ACTS for name, _ in act.calls]
    assert lines[-1] == {"time": lines[-1]["time"], "ok": True, "calls": len(calls)}
    assert all("time" in line for line in lines)


def test_reveals_keys_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--fast", "--reveal"]) == 0
    assert demo.NEW_SDK_KEY in capsys.readouterr().out


def test_shows_the_client_s_log_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--fast", "-v"]) == 0
    err = capsys.readouterr().err
    assert "The stream failed" in err
    assert "The stream is back" in err


def test_goes_past_proxies(run: Run) -> None:
    nowhere = "http://127.0.0.1:9"
    assert run("demo", "--fast", HTTP_PROXY=nowhere, http_proxy=nowhere)[0] == 0


def test_pauses_for_the_reader(start: Callable[..., Any]) -> None:
    running = start("demo")
    running.line("received_all_environments")
    running.process.send_signal(signal.SIGINT)
    assert running.ended() == 130
    assert "renames" not in running.stdout
    assert running.stderr == ""


def test_ends_well_when_its_reader_goes_away(start: Callable[..., Any]) -> None:
    reading, writing = os.pipe()
    running = start("demo", "--fast", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert "emulator" in lines.readline()
    assert running.ended() == 0
    assert running.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_one_line(run: Run) -> None:
    with open("/dev/full", "w") as full:
        code, _, err = run("demo", "--fast", stdout=full)
    assert (code, err) == (
        1,
        "autoconfig: error: stdout: cannot be written: No space left on device\n  try: check the disk or device\n",
    )


def replace_acts(monkeypatch: pytest.MonkeyPatch, *acts: demo.Act) -> None:
    monkeypatch.setattr(demo, "ACTS", acts)
    monkeypatch.setattr(demo, "_DEADLINE", 3)


def test_fails_when_a_call_does_not_come(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    replace_acts(monkeypatch, FIRST, attrs.evolve(SECOND, play=lambda service: None))
    assert main(["demo", "--fast", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[-1])["ok"] is False
    assert err.startswith("autoconfig: error: the client: no update_environment within 3 s\n  try: ")


def test_fails_when_another_call_comes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    replace_acts(monkeypatch, FIRST, attrs.evolve(SECOND, play=demo.ACTS[3].play))
    assert main(["demo", "--fast"]) == 1
    assert "delete_environment was called out of turn" in capsys.readouterr().err


def test_fails_when_the_handler_does_not_know_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service changes something that no call tells of, because its clients are gone."""

    def change_unseen(service: Any) -> None:
        service.stall()
        service.delete_environment(demo.DOCS.env_id)

    replace_acts(monkeypatch, FIRST, demo.Act("changes", change_unseen))
    assert main(["demo", "--fast"]) == 1
    assert "the handler's environments are not the service's" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_a_port_that_cannot_be_had_is_one_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "Emulator", partial(demo.Emulator, host="192.0.2.1"))  # another machine's
    assert main(["demo", "--fast", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out.count("\n") == len(arguments)
    assert err.startswith("autoconfig: error: 127.0.0.1: cannot listen on it: ")


def test_fails_when_the_client_does_not_connect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wait = lambda service: service.wait_for_connections(2, timeout=0.2)  # noqa: E731
    replace_acts(monkeypatch, attrs.evolve(FIRST, play=wait))
    assert main(["demo", "--fast"]) == 1
    assert capsys.readouterr().err.startswith("autoconfig: error: the client: ")


ENVIRONMENTS = (*demo.ENVIRONMENTS, demo.PREVIEW)


@pytest.mark.parametrize("rep", ENVIRONMENTS, ids=lambda rep: rep.env_id)
def test_each_environment_has_the_shape_that_the_service_sends(rep: EnvironmentRep) -> None:
    params = rep.to_params()
    assert rep.contradiction() is None
    assert params.accepted_sdk_keys[0].value == params.sdk_key
    assert [key.value for key in params.accepted_mobile_keys] == [params.mobile_key]
    assert rep.to_json().keys() >= {"sdkKeys", "mobileKeys"}


def test_one_environment_has_a_key_that_expires() -> None:
    params = demo.STAGING.to_params()
    _, old = params.accepted_sdk_keys
    assert params.expiring_sdk_key is not None
    assert (old.value, old.expiration) == (params.expiring_sdk_key.key, params.expiring_sdk_key.expiration)


def test_no_key_is_used_twice() -> None:
    keys = [key.value for rep in ENVIRONMENTS for key in (*rep.sdk_keys, *rep.mobile_keys)]
    assert len(keys) == len(set(keys)) == 9
