"""The tables: right at every width, with wide characters, and never torn."""

from __future__ import annotations

import io
import re
import signal
import termios
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console

from autoconfig import StreamState, StreamStatus
from autoconfig.cli import demo
from autoconfig.cli.events import Call, Picture, Remark
from autoconfig.cli.snapshot import blocks, wide_table
from autoconfig.cli.watch import Board
from autoconfig.cli.words import Show
from autoconfig.environments import EnvironmentParams
from autoconfig.identifiers import mask
from autoconfig.messages import EnvironmentRep
from autoconfig.testing import Emulator

Start = Callable[..., Any]
VALID = StreamStatus(StreamState.VALID, datetime.now(timezone.utc), connected_since=datetime.now(timezone.utc))
WIDE = replace(demo.STAGING, proj_name="日本プロジェクトの長い名前", env_name="ステージング環境です")


def drawn(board: Board, width: int, height: int = 24) -> list[str]:
    """Return the lines of the board as a terminal of this size shows them."""
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, legacy_windows=False)
    console.print(board)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


class ShownBoard(Board):
    """A board that takes calls as ``watch`` does: applied to the picture, and without those about other projects."""

    def __init__(self, show: Show = mask, projects: tuple[str, ...] = (), log: Sequence[str] = ()) -> None:
        self.picture = Picture(projects)
        super().__init__(show, "https://stream.example.com", self.picture, log)

    def take(self, call: Call) -> None:
        call = self.picture.apply(call)
        if self.picture.shows(call.before, call.argument):
            self.show(call)


def board_of(*reps: EnvironmentRep, projects: tuple[str, ...] = (), log: Sequence[str] = ()) -> ShownBoard:
    """Return a board that has received a first configuration."""
    board = ShownBoard(projects=projects, log=log)
    for rep in reps:
        board.take(Call("add_environment", rep.to_params()))
    board.take(Call("received_all_environments"))
    board.refresh(VALID)
    return board


def many(count: int) -> list[EnvironmentRep]:
    return [
        replace(demo.DOCS, env_id=f"{number:024x}", env_name=f"Env {number:03}", env_key=f"e{number}")  # type: ignore[arg-type]
        for number in range(count)
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("rep", [demo.STAGING, WIDE], ids=["latin", "wide"])
def test_every_line_fits_the_terminal(width: int, rep: EnvironmentRep) -> None:
    board = board_of(rep, demo.DOCS, log=["a log line " * 30])
    assert max(map(cell_len, drawn(board, width))) <= width


def test_at_80_columns_there_are_names_keys_and_the_change() -> None:
    lines = drawn(board_of(*demo.ENVIRONMENTS), 80)
    assert re.fullmatch(r"● VALID  connected for \d+ (s|min)  https://stream.example.com", lines[0])
    assert lines[1] == "3 environments, 0 filters; 0 changes since the start"
    heads = next(line for line in lines if line.startswith("Project"))
    assert heads.split() == ["Project", "Environment", "SDK", "key", "Expires", "Changed"]
    staging = next(line for line in lines if "Staging" in line)
    assert re.fullmatch(r"Shop +Staging +sdk-…d479 \+1 +in \d+ d +added 0 s *", staging)
    assert demo.STAGING.env_id not in "".join(lines)


def test_columns_stay_where_they_are_whatever_is_in_them() -> None:
    narrow, wide = drawn(board_of(demo.DOCS), 80), drawn(board_of(demo.DOCS, WIDE, *many(3)), 80)
    assert [line for line in narrow if line.startswith("Project")] == [
        line for line in wide if line.startswith("Project")
    ]


def test_at_40_columns_there_are_the_title_and_the_change() -> None:
    lines = drawn(board_of(*demo.ENVIRONMENTS), 40)
    assert any(re.fullmatch(r"Shop / Staging +added 0 s *", line) for line in lines)


def test_the_newest_change_is_on_top_even_if_there_are_more_than_fit() -> None:
    reps = many(50)
    board = board_of(*reps)
    board.take(Call("update_environment", replace(reps[41], secure_mode=True).to_params()))
    board.take(Call("update_environment", replace(reps[17], secure_mode=True).to_params()))
    lines = drawn(board, 80, height=12)
    place = next(number for number, line in enumerate(lines) if line.startswith("Project"))
    assert "Env 017" in lines[place + 1]
    assert "Env 041" in lines[place + 2]
    assert "Env 000" in lines[place + 3]
    assert "older ones: --project" in lines[-1]
    assert len(lines) <= 12


def test_a_project_is_shown_alone() -> None:
    for name in ("docs", "Docs", "DOCS"):
        lines = "\n".join(drawn(board_of(*demo.ENVIRONMENTS, projects=(name,)), 80))
        assert "1 environment, 0 filters" in lines
        assert "Shop" not in lines


def test_what_was_deleted_is_shown_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    board = board_of(*demo.ENVIRONMENTS)
    now = time.monotonic()
    monkeypatch.setattr("autoconfig.cli.watch.time.monotonic", lambda: now)
    board.take(Call("delete_environment", demo.DOCS.env_id))
    assert "deleted 0 s" in "\n".join(drawn(board, 80))
    now += 9
    board.refresh(VALID)
    assert "deleted" not in "\n".join(drawn(board, 80))


def test_the_newest_log_lines_are_below_the_table() -> None:
    board = board_of(demo.DOCS, log=[f"line {number}" for number in range(9)])
    assert drawn(board, 80)[-4:] == ["line 5", "line 6", "line 7", "line 8"]
    board.show(Remark("Ignored environment 'x', which is listed under 'y'"))
    board.take(Call("environment_refused", "ash", "sdkKeys has an entry without a value"))
    board = board_of(demo.DOCS)
    board.take(Call("environment_refused", "ash", "why"))
    assert drawn(board, 80)[-1] == "refused ash: why"


def test_names_cannot_style_the_table_or_move_the_cursor() -> None:
    lines = drawn(board_of(replace(demo.STAGING, env_name="[red]x[/red]\x1b[2J")), 120)
    assert any(r"[red]x[/red]\x1b[2J" in line for line in lines)


def test_a_snapshot_for_files_is_aligned_with_wide_characters() -> None:
    params: list[EnvironmentParams] = [rep.to_params() for rep in (WIDE, demo.DOCS)]
    head, *rows = wide_table(params, mask)
    for row, id in zip(rows, (WIDE.env_id, demo.DOCS.env_id), strict=True):
        assert cell_len(row[: row.index(id)]) == head.index("ID")


def test_keys_in_full_can_be_copied() -> None:
    lines = list(blocks([demo.STAGING.to_params()]))
    assert lines[0] == "Shop / Staging"
    assert f"  SDK keys     {demo.STAGING.sdk_key.value}" in lines


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_watch_on_a_terminal(columns: int, terminal: Start, service: Emulator, no_secrets: Callable[..., None]) -> None:
    shown = terminal(columns=columns)
    shown.wait_for("● VALID  connected for ")
    shown.wait_for("3 environments, 1 filter")
    service.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(hours=2))
    shown.wait_for("updated ")
    if columns > 40:
        shown.wait_for("in 1 h")
    service.delete_environment(demo.DOCS.env_id)
    shown.wait_for("deleted ")
    no_secrets(shown.screen)


@pytest.mark.parametrize(("end", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_a_signal_leaves_the_terminal_as_it_was(end: int, code: int, terminal: Start) -> None:
    shown = terminal()
    shown.wait_for("3 environments, 1 filter")
    shown.process.send_signal(end)
    assert shown.ended() == code
    for on, off in (("\x1b[?25l", "\x1b[?25h"), ("\x1b[?1049h", "\x1b[?1049l")):
        assert shown.screen.rindex(off) > shown.screen.rindex(on)
    assert termios.tcgetattr(shown.slave) == shown.before
    assert "Traceback" not in shown.screen
    assert "3 environments, 1 filter; 0 changes" in shown.screen[shown.screen.rindex("\x1b[?1049l") :]


def test_log_lines_do_not_tear_the_table(terminal: Start, service: Emulator) -> None:
    shown = terminal("-vv", columns=80)
    shown.wait_for("● VALID")
    service.fail_next(503)
    service.drop_connections()
    shown.wait_for("● INTERRUPTED")
    shown.screen, before = "", shown.screen
    shown.wait_for("● VALID")
    assert before.count("\x1b[?1049h") == 1
    shown.type(b"\x03")
    assert shown.ended() == 130
    on_table, _, after = (before + shown.screen).partition("\x1b[?1049l")
    assert "INFO" in after, "what was held is written at the end"
    # Between two pictures of the table, which begin at the top left, nothing else was written.
    pictures = on_table.split("\x1b[H")
    assert all("●" in picture for picture in pictures[2:])


def test_a_rejected_key_is_told_after_the_table(terminal: Start) -> None:
    shown = terminal("--key", "rel-0123456789abcdef0123456789abcdef")
    assert shown.ended() == 3
    after = shown.screen[shown.screen.rindex("\x1b[?1049l") :]
    assert "autoconfig: error: --key: the service rejected the key (HTTP status 401)" in after


def test_plain_lines_on_a_terminal_have_colours(terminal: Start) -> None:
    shown = terminal("--plain")
    shown.wait_for("complete")
    assert "\x1b[32madded" in shown.screen


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=["NO_COLOR", "dumb"])
def test_colours_can_be_declined(variables: dict[str, str], terminal: Start) -> None:
    shown = terminal("--plain", **variables)
    shown.wait_for("complete")
    assert "\x1b[3" not in shown.screen


def test_a_dumb_terminal_gets_lines(terminal: Start) -> None:
    shown = terminal(TERM="dumb")
    shown.wait_for("complete     3 environments")
    assert "\x1b" not in shown.screen


def test_json_on_a_terminal_is_json(terminal: Start) -> None:
    shown = terminal("--json")
    shown.wait_for('"call": "received_all_environments"}')
    assert "\x1b" not in shown.screen


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_a_snapshot_fits(columns: int, terminal: Start, no_secrets: Callable[..., None]) -> None:
    shown = terminal(command="snapshot", columns=columns)
    assert shown.ended() == 0
    lines = [line.rstrip() for line in shown.text().replace("\r", "").splitlines()]
    assert max(map(len, lines)) <= columns
    assert any("Staging" in line for line in lines)
    no_secrets(shown.screen)


@pytest.mark.parametrize("columns", [40, 60])
def test_the_doctors_lines_are_folded(columns: int, terminal: Start, service: Emulator) -> None:
    service.fail_next(503)
    shown = terminal(command="doctor", columns=columns)
    assert shown.ended() == 1
    lines = [line.rstrip() for line in shown.text().replace("\r", "").splitlines()]
    assert max(map(len, lines)) <= columns
    assert "\x1b[31mFAIL\x1b[0m  http" in shown.screen


@pytest.mark.parametrize("width", [80, 120, 200])
def test_keys_in_full_are_whole_in_the_table(width: int) -> None:
    board = ShownBoard(str)
    board.take(Call("add_environment", demo.DOCS.to_params()))
    lines = drawn(board, width)
    assert max(map(cell_len, lines)) <= width
    assert demo.DOCS.sdk_key.value in "".join(lines)
    assert "Docs / Production" in "".join(lines) or "Docs " in "".join(lines)
