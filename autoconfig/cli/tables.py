"""The tables of ``watch`` and ``snapshot``. The widths of columns depend on the terminal's width only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone

import attrs
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from ..environments import AcceptedKey, EnvironmentParams
from ..status import StreamState, StreamStatus
from . import words
from .events import STATE_COLOURS, Call, Event, Picture, Remark
from .output import harmless, printable
from .words import Show

_LINGER = 8.0  # seconds that a deleted environment is still shown
_FRESH = 4.0  # seconds for which a change stands out
_CHANGES = {"add": "added", "update": "updated", "delete": "deleted"}
_COLOURS = {"added": "green", "updated": "yellow", "deleted": "red"}
_MOST_LOG_LINES = 4  # below the table
_KEY = 12  # columns of a masked key: sdk-…9f2a, and +2 for two more
_KEY_IN_FULL = 40
_NARROW, _WIDE = 60, 100  # columns of a terminal: below the one there is no room for keys, from the other for all
_SPLIT = 26  # columns from which on project and environment have a column each


@attrs.frozen
class Row:
    """An environment in the table of ``watch``, and what happened to it last."""

    params: EnvironmentParams
    change: str
    number: int  # of the change; everything before the first full configuration is number 0
    at: float = attrs.field(factory=time.monotonic)

    def line(self) -> tuple[EnvironmentParams, Text, str]:
        """Return it as a line of the table, with the last change, and the style of the line."""
        seconds = time.monotonic() - self.at
        style = f"{_COLOURS[self.change]} {'bold' if seconds < _FRESH else ''}"
        change = Text(f"{self.change} {words.age(seconds)}", style)
        return self.params, change, "dim" if self.change == "deleted" else ""


class Board:
    """
    The table of ``watch``: the state of the stream, the newest changes first, the filters, the last log lines.

    It is made of events and of the picture that they add up to; ``draw`` draws it anew.
    """

    def __init__(
        self, show: Show, name: str, picture: Picture, log: Sequence[str] = (), draw: Callable[[], object] = bool
    ) -> None:
        self._show = show
        self._name = name
        self._picture = picture
        self._log = log
        self._draw = draw
        self._status = StreamStatus(StreamState.INITIALIZING, datetime.now(timezone.utc))
        self._rows: dict[str, Row] = {}
        self._remarks: deque[str] = deque(maxlen=_MOST_LOG_LINES)
        self._changes = 0  # after the first full configuration

    def show(self, event: Event) -> None:
        """Take up an event."""
        match event:
            case Remark(text=text):
                self._remarks.append(harmless(text))
            case Call(name="environment_refused"):
                self._remarks.append(f"refused {printable(event.id)}: {printable(event.reason)}")
            case Call() if event.id:
                self._changes += self._picture.registry.is_ready
                params = event.argument if isinstance(event.argument, EnvironmentParams) else event.before
                if isinstance(params, EnvironmentParams):
                    change = _CHANGES[event.name.partition("_")[0]]
                    self._rows[params.env_id] = Row(params, change, self._changes)

    def refresh(self, status: StreamStatus) -> None:
        """Show the stream's status, forget environments that were deleted a while ago, and draw."""
        self._status = status
        oldest = time.monotonic() - _LINGER
        self._rows = {id: row for id, row in self._rows.items() if row.change != "deleted" or row.at > oldest}
        self._draw()

    def totals(self) -> str:
        """Return how much there is."""
        if not self._picture.registry.is_ready:
            return "waiting for the first configuration"
        return f"{self._picture.totals()}; {words.counted(self._changes, 'change')} since the start"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        header, footer = self._header(), self._footer()
        yield from header
        room = max(1, (options.height or console.height) - len(header) - len(footer) - 3)
        rows = sorted(self._rows.values(), key=lambda row: (-row.number, words.sort_key(row.params)))
        if rows:
            yield Text()
            yield _table([row.line() for row in rows[:room]], self._show, options.max_width, "Changed", 14)
        if len(rows) > room:
            older = words.counted(len(rows) - room, "older one")
            yield _one_line(f"… and {older}: --project PROJECT shows fewer", "dim")
        yield from footer

    def _header(self) -> list[Text]:
        now, state = datetime.now(timezone.utc), self._status.state
        line = _one_line(f"● {state.value}", STATE_COLOURS[state])
        line.append(f"  {words.state_words(self._status, now)}  {self._name}", "default")
        lines = [line, _one_line(self.totals(), "dim")]
        if last_error := words.last_error_words(self._status, now):
            lines.append(_one_line(last_error, "red" if words.is_failing(self._status) else "dim"))
        return lines

    def _footer(self) -> list[Text]:
        filters = self._picture.filters()
        lines = [_one_line(f"Filters: {', '.join(filters)}")] if filters else []
        log = [*self._remarks, *list(self._log)[-_MOST_LOG_LINES:]][-_MOST_LOG_LINES:]
        return lines + [_one_line(printable(line), "dim") for line in log]


def snapshot_lines(environments: Iterable[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield a line for each environment with nothing cut, for files and other programs."""
    rows = [["Project", "Environment", "ID", "SDK keys", "Mobile keys", "TTL", "Secure", "Expires"]]
    for params in environments:
        cells = [words.project_name(params), words.environment_name(params), *_details(params, show).values()]
        rows.append([printable(cell) or "-" for cell in cells])
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(set_cell_size, row, widths)).rstrip()


def snapshot_blocks(environments: Iterable[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield lines of which none is longer than a key, because no terminal has room for full keys in a table."""
    for params in environments:
        yield words.title(params)
        for head, value in _details(params, show).items():
            yield from (f"  {head:11}  {printable(part)}" for part in value.split(", ") if value)
        yield ""


def _details(params: EnvironmentParams, show: Show) -> dict[str, str]:
    """Return what is shown of an environment where there is room, by the head of the column."""
    return {
        "ID": params.env_id,
        "SDK keys": ", ".join(show(key.value) for key in params.accepted_sdk_keys),
        "Mobile keys": ", ".join(show(key.value) for key in params.accepted_mobile_keys),
        "TTL": words.ttl(params),
        "Secure": "yes" if params.secure_mode else "no",
        "Expires": ", ".join(f"{show(value)} at {words.moment(end)}" for value, end in words.expiring_keys(params)),
    }


def print_snapshot(environments: Iterable[EnvironmentParams], show: Show) -> None:
    """Print a table that fits the terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    lines = [(one, Text("yes", "green") if one.secure_mode else Text("no", "dim"), "") for one in environments]
    console.print(_table(lines, show, console.width, "Secure", 6))


def _table(
    lines: Iterable[tuple[EnvironmentParams, Text, str]], show: Show, width: int, last: str, last_width: int
) -> Table:
    """Return a table for a terminal of this width. A line is an environment, its last cell, and its style."""
    in_full = show is str
    columns = _columns(width, last_width, _KEY_IN_FULL if in_full else _KEY)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for head, size in columns.items():
        whole = in_full and head.endswith("key")  # nothing of it may be missing
        table.add_column(head, width=size, no_wrap=not whole, overflow="fold" if whole else "ellipsis")
    table.add_column(last, width=last_width, no_wrap=True, overflow="ellipsis")
    for params, cell, style in lines:
        cells = _cells(params, show)
        if "Project" not in columns:
            cells["Environment"] = words.title(params)
        table.add_row(*(Text(printable(cells[head])) for head in columns), cell, style=style)
    return table


def _columns(width: int, last: int, key: int) -> dict[str, int]:
    """Return the columns before the last one, with their widths; names get the room that the others leave."""
    columns: dict[str, int] = {}
    if width >= _NARROW:
        columns["SDK key"] = key
    if width - key >= _NARROW - _KEY:
        columns["Expires"] = 9
    if width - 2 * key >= _WIDE - 2 * _KEY:
        columns |= {"Mobile key": key, "TTL": 9}
    room = width - last - sum(columns.values()) - 2 * (len(columns) + 2)  # older versions of rich pad the last one too
    if room < _SPLIT:
        return {"Environment": max(4, room), **columns}
    return {"Project": room * 2 // 5, "Environment": room - room * 2 // 5 - 2, **columns}


def _cells(params: EnvironmentParams, show: Show) -> dict[str, str]:
    ends = words.expiring_keys(params)
    left = (ends[0][1] - datetime.now(timezone.utc)).total_seconds() if ends else 0
    return {
        "Project": words.project_name(params),
        "Environment": words.environment_name(params),
        "SDK key": _keys(params.sdk_key, params.accepted_sdk_keys, show),
        "Mobile key": _keys(params.mobile_key, params.accepted_mobile_keys, show),
        "Expires": "" if not ends else f"in {words.age(left)}" if left > 0 else "expired",
        "TTL": words.ttl(params),
    }


def _keys(main: str, accepted: Sequence[AcceptedKey], show: Show) -> str:
    """Return an environment's main key, and how many more are accepted."""
    more = len({key.value for key in accepted} - {main})
    return f"{show(main)} +{more}" if more else show(main)


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
