"""What the commands print on a terminal: it fits, has colours, and none where they are declined."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from autoconfig.cli import story
from autoconfig.testing import Emulator

Start = Callable[..., Any]
WITHOUT_RICH = ("-c", "import sys; sys.modules['rich'] = None; from autoconfig.cli import main; sys.exit(main())")


def lines_of(shown: Any, code: int = 0) -> list[str]:
    """Wait for the end, and return the lines of the screen."""
    assert shown.ended(within=10) == code
    return [line.rstrip() for line in shown.text().replace("\r", "").splitlines()]


@pytest.mark.parametrize(("columns", "id"), [(80, "…12ab3c02"), (110, story.STAGING.env_id)])
def test_a_snapshot_fits(columns: int, id: str, terminal: Start, no_secrets: Callable[..., None]) -> None:
    pytest.importorskip("rich")
    shown = terminal(command="snapshot", columns=columns)
    lines = lines_of(shown)
    assert lines[0].split()[:3] == ["Project", "Environment", "ID"]
    assert lines[3].split() == ["Shop", "Staging", id, "sdk-…d479", "mob-…5c27", "none", "no"]
    assert max(map(len, lines)) <= columns
    no_secrets(shown.screen)


def test_a_snapshot_needs_no_rich(terminal: Start) -> None:
    lines = lines_of(terminal(command="snapshot", program=WITHOUT_RICH))
    assert lines[3].split() == ["Shop", "Staging", story.STAGING.env_id, "sdk-…d479", "mob-…5c27", "none", "no", "-"]


def test_keys_in_full_can_be_copied(terminal: Start) -> None:
    lines = lines_of(terminal("--reveal", command="snapshot", columns=60))
    place = lines.index("Shop / Staging")
    assert lines[place + 1 : place + 4] == [
        f"  ID          {story.STAGING.env_id}",
        f"  SDK key     {story.STAGING.sdk_key.value}",
        f"  Mobile key  {story.STAGING.mob_key}",
    ]


def test_json_is_indented_for_people(terminal: Start) -> None:
    lines = lines_of(terminal("--json", command="snapshot"))
    assert lines[:2] == ["{", '  "environments": [']
    assert json.loads("\n".join(lines))["filters"][0]["key"] == "europe"


def test_the_doctors_lines_are_folded(terminal: Start, service: Emulator) -> None:
    service.fail_next(503)
    shown = terminal(command="doctor", columns=60)
    lines = lines_of(shown, 1)
    assert max(map(len, lines)) <= 60
    assert lines[1] == " " * 21 + "key rel-…7e13 (AUTO_CONFIG_KEY)"
    assert "\x1b[31mFAIL\x1b[0m  http" in shown.screen


def test_the_doctors_colours_can_be_declined(terminal: Start) -> None:
    shown = terminal(command="doctor", NO_COLOR="1")
    lines_of(shown)
    assert "\x1b" not in shown.screen
