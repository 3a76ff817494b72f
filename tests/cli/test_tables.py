"""The live table, on a pseudo-terminal with the command in control of it."""

from __future__ import annotations

import json
import re
import signal
import termios
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from msgspec.structs import replace
import pytest

from autoconfig.cli import demo
from autoconfig.testing import Emulator, environment_json

pytest.importorskip("rich")

DEADLINE = 20.0  # seconds
Start = Callable[..., Any]


def test_shows_a_row_for_each_environment(terminal: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    shown = terminal()
    shown.wait_for("● VALID  connected for ")
    shown.wait_for(service.uri)
    shown.wait_for("2 projects, 3 environments, 1 filter; 4 changes so far")
    for words in ("Project", "Mobile key", "Shop", "Staging", demo.STAGING.env_id, "sdk-…d479", "mob-…5c27"):
        shown.wait_for(words)
    shown.wait_for("Filters: europe (shop)")
    service.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(hours=2))
    shown.wait_for("sdk-…0ae7 1 h 59 min")
    service.delete_environment(demo.DOCS.env_id)
    shown.wait_for("deleted 0 s ago")
    no_secrets(shown.screen)


def test_ctrl_c_leaves_the_terminal_as_it_was(terminal: Start) -> None:
    shown = terminal()
    shown.wait_for("● VALID")
    shown.type(b"\x03")
    assert shown.ended() == 130
    assert shown.screen.rindex("\x1b[?25h") > shown.screen.rindex("\x1b[?25l"), "the cursor is visible again"
    assert termios.tcgetattr(shown.slave) == shown.before
    assert "Traceback" not in shown.screen


def test_sigterm_leaves_the_terminal_as_it_was(terminal: Start) -> None:
    shown = terminal()
    shown.wait_for("● VALID")
    shown.process.send_signal(signal.SIGTERM)
    assert shown.ended() == 143
    assert shown.screen.rindex("\x1b[?25h") > shown.screen.rindex("\x1b[?25l")


def test_tells_of_an_interruption_and_of_its_end(terminal: Start, service: Emulator) -> None:
    shown = terminal()
    shown.wait_for("● VALID")
    service.fail_next(503)
    service.drop_connections()
    shown.wait_for("● INTERRUPTED  next attempt in ")
    shown.wait_for("HTTP status 503")
    shown.screen = ""
    shown.wait_for("● VALID")


def test_tells_of_a_key_that_is_rejected(terminal: Start) -> None:
    shown = terminal("--key", "rel-0123456789abcdef0123456789abcdef")
    assert shown.ended(within=DEADLINE) == 3
    assert "● OFF  ended" in shown.text()
    assert "the service rejected the auto-configuration key (HTTP status 401)" in shown.text()


def test_fits_80_columns(terminal: Start, service: Emulator) -> None:
    service.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(hours=2))
    shown = terminal(columns=80)
    shown.wait_for("Filters:")
    lines = shown.text().replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(re.search(r"mob-…9d14 +none +added \d s$", line.rstrip()) for line in lines)
    assert any("…12ab3c01" in line for line in lines), "an id is cut at its beginning"
    shown.wait_for("1 h 59")


def test_counts_down_every_key_that_expires(terminal: Start, service: Emulator) -> None:
    """What newer services list, which the emulator's own methods do not know."""
    soon = (datetime.now(timezone.utc) + timedelta(hours=1)).timestamp() * 1000
    content = environment_json(demo.PRODUCTION) | {
        "version": 9,
        "mobileKeys": [{"value": demo.PRODUCTION.mob_key}, {"value": "mob-0123456789abcdef", "expiry": int(soon)}],
    }
    shown = terminal(columns=140)
    shown.wait_for("● VALID")
    path = f"/environments/{demo.PRODUCTION.env_id}"
    service.send_event("patch", json.dumps({"path": path, "data": content}))
    shown.wait_for("mob-…cdef 59 min")


def test_does_not_cut_keys_that_are_revealed(terminal: Start) -> None:
    shown = terminal("--reveal", columns=200)
    shown.wait_for(demo.PRODUCTION.sdk_key.value)
    shown.wait_for(demo.PRODUCTION.mob_key)


def test_shows_as_many_rows_as_there_is_room_for(terminal: Start, service: Emulator) -> None:
    service.replace([replace(demo.PRODUCTION, env_id=f"{number:024x}") for number in range(50)])
    shown = terminal()
    shown.wait_for("… and 28 more")


def test_names_cannot_style_the_table(terminal: Start, service: Emulator) -> None:
    service.set_environment(replace(demo.STAGING, env_name="[red]x[/red]\x1b[2J"))
    terminal().wait_for(r"[red]x[/red]\x1b[2J")


def test_plain_lines_on_a_terminal_have_colours(terminal: Start) -> None:
    shown = terminal("--plain")
    shown.wait_for("complete   3 environments")
    assert "\x1b[32madded" in shown.screen


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_can_be_declined(variables: dict[str, str], terminal: Start) -> None:
    shown = terminal("--plain", **variables)
    shown.wait_for("complete   3 environments")
    assert "\x1b[3" not in shown.screen


def test_json_on_a_terminal_is_json(terminal: Start) -> None:
    shown = terminal("--json")
    shown.wait_for('{"call": "received_all_environments"}')
    assert "\x1b" not in shown.screen


def test_without_rich_there_are_lines(terminal: Start) -> None:
    program = "import sys; sys.modules['rich'] = None; from autoconfig.cli import main; sys.exit(main())"
    shown = terminal(program=("-c", program))
    shown.wait_for("pip install 'ld-autoconfig[cli]'")
    shown.wait_for("complete   3 environments")
