"""The tables of ``watch`` and ``snapshot``. The widths of columns depend on the terminal's width only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone

import attrs
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from ..environments import AcceptedKey, EnvironmentParams
from ..status import StreamState, StreamStatus
from .events import STATE_COLOURS, Call, Event, Picture, Remark, View
from .output import harmless, printable
from .words import (
    Show,
    age,
    counted,
    duration,
    environment_name,
    expiring_keys,
    is_troubled,
    moment,
    project_name,
    sort_key,
    state_words,
    title,
    trouble_words,
)

_LINGER = 8.0  # seconds that a deleted environment is still shown
_FRESH = 4.0  # seconds for which a change stands out
_COLOURS = {"added": "green", "updated": "yellow", "deleted": "red"}
_MOST_LOG_LINES = 4  # below the table
_KEY = 12  # columns of a masked key: sdk-…9f2a, and +2 for two more
_KEY_IN_FULL = 40
_NARROW, _WIDE = 60, 100  # columns of a terminal: below the one there is no room for keys, from the other for all
_SPLIT = 26  # columns from which on project and environment have a column each


@attrs.define
class Row:
    """
    An environment in the table.

    Attributes:
        params: What is known of it.
        change: What happened to it last.
        number: The number of that change; everything before the first full configuration is number 0.
        at: When that was, in monotonic time.
    """

    params: EnvironmentParams
    change: str
    number: int
    at: float


class Board(View):
    """
    What ``watch`` shows: the state of the stream, the newest changes first, the filters, the last log lines.

    Args:
        show: How secrets are shown.
        name: What is followed.
        picture: What the calls add up to.
        log: The log lines; the newest are shown.
        draw: Draws it anew.
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
        if isinstance(event, Remark):
            self._remarks.append(harmless(event.text))
        elif isinstance(event, Call):
            before = self._picture.apply(event)
            if event.name == "environment_refused":
                self._remarks.append(f"refused {printable(event.id)}: {printable(event.reason)}")
            elif event.id and self._picture.shows(before, event.argument):
                self._changed(event, before)

    def _changed(self, call: Call, before: object) -> None:
        self._changes += self._picture.registry.is_ready
        now = call.argument
        params = now if isinstance(now, EnvironmentParams) else before
        if isinstance(params, EnvironmentParams):
            change = {"add": "added", "update": "updated", "delete": "deleted"}[call.name.partition("_")[0]]
            self._rows[params.env_id] = Row(params, change, self._changes, time.monotonic())

    def refresh(self, status: StreamStatus) -> None:
        """Take up the stream's status, forget environments that were deleted a while ago, and draw."""
        self._status = status
        oldest = time.monotonic() - _LINGER
        self._rows = {id: row for id, row in self._rows.items() if row.change != "deleted" or row.at > oldest}
        self._draw()

    def totals(self) -> str:
        """Return how much there is."""
        if not self._picture.registry.is_ready:
            return "waiting for the first configuration"
        return f"{self._picture.totals()}; {counted(self._changes, 'change')} since the start"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        now = datetime.now(timezone.utc)
        state = self._status.state
        line = _one_line(f"● {state.value}", STATE_COLOURS[state])
        yield line.append(f"  {state_words(self._status, now)}  {self._name}", "default")
        yield _one_line(self.totals(), "dim")
        if trouble := trouble_words(self._status, now):
            yield _one_line(trouble, "red" if is_troubled(self._status) else "dim")
        footer = self._footer()
        room = max(1, (options.height or console.height) - len(footer) - (6 if trouble else 5))
        rows = sorted(self._rows.values(), key=lambda row: (-row.number, sort_key(row.params)))
        if rows:
            yield Text()
            yield _table([_Line(row.params, *_last_change(row)) for row in rows[:room]], self._show, options.max_width)
        if len(rows) > room:
            yield _one_line(f"… and {counted(len(rows) - room, 'older one')}: --project PROJECT shows fewer", "dim")
        yield from footer

    def _footer(self) -> list[Text]:
        filters = self._picture.filters()
        lines = [_one_line(f"Filters: {', '.join(filters)}")] if filters else []
        log = [*self._remarks, *list(self._log)[-_MOST_LOG_LINES:]][-_MOST_LOG_LINES:]
        return lines + [_one_line(printable(line), "dim") for line in log]


@attrs.frozen
class _Line:
    """
    A line of a table.

    Attributes:
        params: The environment.
        last: What stands in the last column.
        style: The style of the line.
    """

    params: EnvironmentParams
    last: Text
    style: str = ""


def snapshot_lines(environments: Iterable[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield a line for each environment with nothing cut, for files and other programs."""
    heads = ["Project", "Environment", "ID", "SDK keys", "Mobile keys", "TTL", "Secure", "Expires"]
    rows = [heads]
    for params in environments:
        cells = [project_name(params), environment_name(params), *_details(params, show).values()]
        rows.append([printable(cell) or "-" for cell in cells])
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(padded).rstrip()


def snapshot_blocks(environments: Iterable[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield lines of which none is longer than a key, because no terminal has room for full keys in a table."""
    for params in environments:
        yield title(params)
        for head, value in _details(params, show).items():
            for part in value.split(", ") if value else ():
                yield f"  {head:11}  {printable(part)}"
        yield ""


def print_snapshot(environments: Iterable[EnvironmentParams], show: Show) -> None:
    """Print a table that fits the terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    lines = [_Line(one, Text("yes", "green") if one.secure_mode else Text("no", "dim")) for one in environments]
    console.print(_table(lines, show, console.width, last="Secure"))


def _details(params: EnvironmentParams, show: Show) -> dict[str, str]:
    """Return what is shown of an environment where there is room, by the head of the column."""
    return {
        "ID": params.env_id,
        "SDK keys": ", ".join(show(key.value) for key in params.accepted_sdk_keys),
        "Mobile keys": ", ".join(show(key.value) for key in params.accepted_mobile_keys),
        "TTL": duration(params.ttl) if params.ttl else "none",
        "Secure": "yes" if params.secure_mode else "no",
        "Expires": ", ".join(f"{show(value)} at {moment(end)}" for value, end in expiring_keys(params)),
    }


def _columns(width: int, last: str, key: int) -> dict[str, int]:
    """Return the columns for a terminal of this width, with their widths; names get the room that the others leave."""
    columns: dict[str, int] = {}
    if width >= _NARROW:
        columns["SDK key"] = key
    if width - key >= _NARROW - _KEY:
        columns["Expires"] = 9
    if width - 2 * key >= _WIDE - 2 * _KEY:
        columns |= {"Mobile key": key, "TTL": 9}
    columns[last] = 14 if last == "Changed" else 6
    room = width - sum(columns.values()) - 2 * (len(columns) + 1)  # older versions of rich pad the last one too
    if room < _SPLIT:
        return {"Environment": max(4, room), **columns}
    return {"Project": room * 2 // 5, "Environment": room - room * 2 // 5 - 2, **columns}


def _table(lines: Iterable[_Line], show: Show, width: int, last: str = "Changed") -> Table:
    in_full = show is str
    columns = _columns(width, last, _KEY_IN_FULL if in_full else _KEY)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for head, size in columns.items():
        table.add_column(_one_line(head), width=size)
    for line in lines:
        cells = _cells(line.params, show)
        if "Project" not in columns:
            cells["Environment"] = title(line.params)
        texts = {head: _one_line(cells[head]) for head in columns if head != last}
        for head in texts.keys() & {"SDK key", "Mobile key"} if in_full else ():
            texts[head] = Text(cells[head], overflow="fold")  # nothing of it may be missing
        table.add_row(*texts.values(), line.last, style=line.style)
    return table


def _cells(params: EnvironmentParams, show: Show) -> dict[str, str]:
    ends = expiring_keys(params)
    left = (ends[0][1] - datetime.now(timezone.utc)).total_seconds() if ends else 0
    cells = {
        "Project": project_name(params),
        "Environment": environment_name(params),
        "SDK key": _keys(params.sdk_key, params.accepted_sdk_keys, show),
        "Mobile key": _keys(params.mobile_key, params.accepted_mobile_keys, show),
        "Expires": "" if not ends else f"in {age(left)}" if left > 0 else "expired",
        "TTL": duration(params.ttl) if params.ttl else "none",
    }
    return {head: printable(cell) for head, cell in cells.items()}


def _keys(main: str, accepted: Sequence[AcceptedKey], show: Show) -> str:
    """Return an environment's main key, and how many more are accepted."""
    more = len({key.value for key in accepted} - {main})
    return f"{show(main)} +{more}" if more else show(main)


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _last_change(row: Row) -> tuple[Text, str]:
    """Return the cell with the last change, and the style of the line."""
    seconds = time.monotonic() - row.at
    style = f"{_COLOURS[row.change]} {'bold' if seconds < _FRESH else ''}"
    return _one_line(f"{row.change} {age(seconds)}", style), "dim" if row.change == "deleted" else ""
