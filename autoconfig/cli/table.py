"""The live table of ``autoconfig watch``."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timezone

import attrs
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.text import Text

from ..environments import EnvironmentParams
from ..status import StreamState, StreamStatus
from .calls import Call, Picture
from .grid import Grid, GridRow, filter_line, one_line
from .output import printable, shown_uri
from .params import sort_key
from .state import STYLES, connection_words, is_troubled, trouble_words
from .wording import Show, age, counted, filter_title, totals

_LINGER = 8.0  # seconds that a deleted environment is still shown
_FRESH = 4.0  # seconds that a change stands out
_STYLES = {"added": "green", "updated": "yellow", "deleted": "red"}
_OTHER_LINES = 8  # of the terminal's height: state, heads, filters, and some air


@attrs.define
class Row:
    """
    An environment in the table.

    Attributes:
        params: What is known of it.
        change: What happened to it last.
        at: When that was, in monotonic time.
    """

    params: EnvironmentParams
    change: str
    at: float


class Board:
    """
    What ``watch`` shows: three lines about the stream, a row for each environment, and a line with the filters.

    Args:
        show: How secrets are shown.
        uri: What is followed.

    Attributes:
        status: The stream's status.
    """

    def __init__(self, show: Show, uri: str) -> None:
        self.status = StreamStatus(StreamState.INITIALIZING, datetime.now(timezone.utc))
        self._show = show
        self._uri = shown_uri(uri)
        self._picture = Picture()
        self._rows: dict[str, Row] = {}
        self._changes = 0
        self._complete = False

    def show(self, call: Call) -> None:
        """Take up a call."""
        before = self._picture.apply(call)
        if call.name == "received_all_environments":
            self._complete = True
            return
        self._changes += 1
        if isinstance(call.argument, EnvironmentParams):
            change = "updated" if call.name == "update_environment" else "added"
            self._rows[call.id] = Row(call.argument, change, time.monotonic())
        elif isinstance(before, EnvironmentParams):
            self._rows[call.id] = Row(before, "deleted", time.monotonic())

    def refresh(self, status: StreamStatus) -> None:
        """Take up the stream's status, and forget environments that were deleted a while ago."""
        self.status = status
        now = time.monotonic()
        self._rows = {id: row for id, row in self._rows.items() if row.change != "deleted" or now - row.at < _LINGER}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        now = datetime.now(timezone.utc)
        yield self._state_line(now)
        yield one_line(self._totals(), "dim")
        yield one_line(trouble_words(self.status, now), "red" if is_troubled(self.status) else "dim")
        rows = sorted(self._rows.values(), key=lambda row: sort_key(row.params))
        room = max(1, console.height - _OTHER_LINES)
        if rows:
            grid = Grid(self._show, options.max_width)
            shown = [GridRow(row.params, *_last_change(row, grid.wide)) for row in rows[:room]]
            yield grid.table(shown, "Last change" if grid.wide else "Changed")
        if len(rows) > room:
            yield Text(f"… and {len(rows) - room} more; all are in `autoconfig watch --plain`", "dim")
        if filters := self._picture.filters.values():
            yield filter_line(map(filter_title, filters))

    def _state_line(self, now: datetime) -> Text:
        state = self.status.state
        line = one_line(f"● {state.value}", STYLES[state])
        return line.append(f"  {connection_words(self.status, now)}  {self._uri}", "default")

    def _totals(self) -> str:
        if not self._complete:
            return "waiting for the first configuration"
        environments = self._picture.environments.values()
        projects = {params.identifiers.proj_key for params in environments}
        parts = [counted(len(projects), "project"), totals(len(environments), len(self._picture.filters))]
        return f"{', '.join(parts)}; {counted(self._changes, 'change')} so far"


class LiveTable(AbstractContextManager["LiveTable"]):
    """
    A board on the terminal.

    Args:
        show: How secrets are shown.
        uri: What is followed.
    """

    def __init__(self, show: Show, uri: str) -> None:
        self._board = Board(show, uri)
        self._live = Live(
            self._board,
            console=Console(highlight=False, markup=False, emoji=False),
            auto_refresh=False,
            # What is logged to the same terminal goes above the table; what is redirected to a file stays there.
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
        )

    def __enter__(self) -> LiveTable:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, call: Call) -> None:
        """Take up a call."""
        self._board.show(call)

    def refresh(self, status: StreamStatus) -> None:
        """Draw the board anew: times pass without a call too."""
        self._board.refresh(status)
        self._live.refresh()


def _last_change(row: Row, wide: bool) -> tuple[Text, str]:
    """Return the cell with the last change, and the style of the row."""
    seconds = time.monotonic() - row.at
    words = printable(f"{row.change} {age(seconds)}{' ago' if wide else ''}")
    style = f"{_STYLES[row.change]} {'bold' if seconds < _FRESH else ''}"
    return Text(words, style), "dim" if row.change == "deleted" else ""
