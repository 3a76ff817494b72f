"""``autoconfig snapshot``: one configuration in each form, and each way in which it does not come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cli.findings import DEADLINE
from cli.plain_service import PlainService, environment, event, put
from msgspec.structs import replace

from autoconfig.cli import demo, main
from autoconfig.testing import Emulator

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., None]
Capture = pytest.CaptureFixture[str]
KEY = "rel-0123456789abcdef0123456789abcdef"
GOOD = environment("oak", "Harbour oak")
BAD = environment("ash", "Ash", sdkKeys=[{"key": "default", "value": ""}])
FOREIGN = event("put", {"path": "/", "data": {"environments": {"fir": environment("fir2", "Fir")}}})


def snapshot(uri: str, *arguments: str) -> int:
    return main(["snapshot", "--uri", uri, "--key", KEY, *arguments])


def test_shows_what_the_service_sends(run: Run) -> None:
    with PlainService(put(GOOD)) as service:
        code, out, err = run("snapshot", STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
    assert (code, err) == (0, "")
    assert out.splitlines()[1].split()[:4] == ["Quay", "Harbour", "oak", "oak"]
    assert "sdk-…cdef, sdk-…89ab" in out
    assert out.endswith("1 environment, 0 filters\n")


def test_prints_the_wire_form(capsys: Capture) -> None:
    filters = {"f1": {"projKey": "quay", "key": "eu", "version": 1}}
    with PlainService(put(GOOD, filters=filters)) as service:
        assert snapshot(service.uri, "--json", "--reveal") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    served = {name: value for name, value in GOOD.items() if name != "version"}
    assert json.loads(out) == {"environments": {"oak": served}, "filters": {"f1": {"projKey": "quay", "key": "eu"}}}


def test_emulate_serves_what_it_prints(start: Callable[..., Any], capsys: Capture, tmp_path: Path) -> None:
    odd = environment("elm", "日本\u2028", version=9, newField=[1, {"a": None}], sdkKey={"value": "sdk-1"}, sdkKeys=[])
    with PlainService(put(GOOD, odd)) as service:
        assert snapshot(service.uri, "--json", "--reveal") == 0
    first = capsys.readouterr().out
    (tmp_path / "snapshot.json").write_text(first, "utf-8")
    running = start("emulate", "snapshot.json", "--port", "0", "--key", KEY)
    assert snapshot(running.line("URI").split()[1], "--json", "--reveal") == 0
    assert capsys.readouterr().out == first


def test_json_is_not_escaped_whatever_the_encoding(run: Run) -> None:
    with PlainService(put(environment("oak", "Škoda 日本"))) as service:
        _, out, _ = run("snapshot", "--json", "--uri", service.uri, AUTO_CONFIG_KEY=KEY, PYTHONIOENCODING="latin-1")
    assert '"envName": "Škoda 日本"' in out


def test_masks_keys_in_json(reached: Emulator, capsys: Capture, no_secrets: Check) -> None:
    assert main(["snapshot", "--json"]) == 0
    out = capsys.readouterr().out
    assert json.loads(out)["environments"][demo.STAGING.env_id]["sdkKey"]["value"] == "sdk-…d479"
    no_secrets(out)


def test_prints_an_aligned_table(reached: Emulator, capsys: Capture, no_secrets: Check) -> None:
    reached.set_environment(replace(demo.STAGING, env_name="A\x1b[2J", secure_mode=True, default_ttl=90))
    assert main(["snapshot"]) == 0
    out, err = capsys.readouterr()
    head, docs, first, _, *rest = out.splitlines()
    columns = [head.index(name) for name in ("Environment", "ID", "SDK keys", "Mobile keys", "TTL", "Secure")]
    assert [docs[column - 1] for column in columns] == [" "] * 6
    assert first.split()[:2] == ["Shop", r"A\x1b[2J"]
    assert "1 h 30 min  yes" in first
    assert rest == ["Filters: europe (shop)", "3 environments, 1 filter"]
    no_secrets(out, err)


def test_an_empty_profile_is_a_configuration(capsys: Capture) -> None:
    with PlainService(put()) as service:
        assert snapshot(service.uri) == 0
        assert capsys.readouterr().out == "0 environments, 0 filters\n"
        assert snapshot(service.uri, "--json") == 0
        assert json.loads(capsys.readouterr().out) == {"environments": {}, "filters": {}}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (put(BAD), "ash: sdkKeys has an entry without a value"),
        (FOREIGN, "Ignored environment 'fir2', which is listed under 'fir'"),
        (b"event: put\ndata: {\n\n", 'malformed "put" event'),
        (put(environment("oak", "Oak", version="1")), "version"),
    ],
    ids=["refused", "foreign", "not JSON", "wrong type"],
)
@pytest.mark.parametrize("form", ["table", "json"])
def test_a_put_of_which_nothing_is_usable_is_a_failure(answer: bytes, reason: str, form: str, capsys: Capture) -> None:
    with PlainService(answer) as service:
        began = time.monotonic()
        assert snapshot(service.uri, "--format", form) == 1
        assert time.monotonic() - began < 10, "it does not wait for the timeout"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("autoconfig: error: the configuration: nothing that came can be used: ")
    assert reason in err
    assert err.splitlines()[1].startswith("  try: autoconfig doctor")


def test_what_is_refused_or_ignored_is_counted_and_named(capsys: Capture) -> None:
    content = {"oak": GOOD, "ash": BAD, "fir": environment("fir2", "Fir")}
    with PlainService(event("put", {"path": "/", "data": {"environments": content}})) as service:
        assert snapshot(service.uri) == 0
    out, err = capsys.readouterr()
    assert out.endswith("1 environment, 0 filters\n")
    assert err.splitlines() == [
        "autoconfig: warning: refused: ash: sdkKeys has an entry without a value",
        "autoconfig: warning: ignored: Ignored environment 'fir2', which is listed under 'fir'",
        "autoconfig: warning: the configuration: 1 refused, 1 ignored; the rest is complete",
    ]


def test_a_rejected_key_is_code_3(capsys: Capture) -> None:
    with PlainService(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n") as service:
        assert snapshot(service.uri, "--json") == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "autoconfig: error: --key: the service rejected the key (HTTP status 401)"
    assert "0123456789" not in err


def test_no_configuration_in_time_is_code_4_with_the_last_error(capsys: Capture) -> None:
    with PlainService(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n") as service:
        began = time.monotonic()
        assert snapshot(service.uri, "--timeout", "2") == 4
        assert time.monotonic() - began < 30
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("autoconfig: error: --timeout: no full configuration within 2 s: ")
    assert "503" in err


def test_a_failure_on_the_way_is_tried_again(reached: Emulator, capsys: Capture) -> None:
    reached.fail_next(503)
    assert main(["snapshot"]) == 0
    assert capsys.readouterr().out.endswith("3 environments, 1 filter\n")


def test_variables_for_a_relay(reached: Emulator, capsys: Capture) -> None:
    reached.set_environment(replace(demo.STAGING, secure_mode=True, default_ttl=5))
    assert main(["snapshot", "--format", "relay-env", "--reveal"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-5:] == [
        f"LD_ENV_shop_staging={demo.STAGING.sdk_key.value}",
        f"LD_MOBILE_KEY_shop_staging={demo.STAGING.mob_key}",
        f"LD_CLIENT_SIDE_ID_shop_staging={demo.STAGING.env_id}",
        "LD_SECURE_MODE_shop_staging=true",
        "LD_TTL_shop_staging=5m",
    ]


def test_a_useless_file_of_variables_is_not_written(reached: Emulator, capsys: Capture) -> None:
    assert main(["snapshot", "--format", "relay-env"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "autoconfig: error: --format relay-env: would write masked keys, which no Relay Proxy can use\n"
        "  try: add --reveal\n"
    )


def test_a_rotation_is_shown(reached: Emulator, capsys: Capture) -> None:
    reached.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(days=400))
    assert main(["snapshot"]) == 0
    assert "sdk-…0ae7 at 20" in capsys.readouterr().out


def test_ends_on_sigterm_while_it_waits(start: Callable[..., Any], service: Emulator) -> None:
    service.stall()
    running = start("snapshot", "--uri", service.uri, "--key", service.key)
    service.wait_for_requests(1, timeout=DEADLINE)
    running.process.terminate()
    assert running.ended() == 143
    assert (running.stdout, running.stderr) == ("", "")
