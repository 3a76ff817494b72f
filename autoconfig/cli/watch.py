"""``autoconfig watch``: follow a stream, as lines, as JSON, or as a live table."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from functools import partial

import attrs
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.text import Text

from ..environments import EnvironmentParams
from ..identifiers import mask
from ..status import StreamState, StreamStatus
from . import OK, words
from .events import STATE_COLOURS, VERBS, Call, Event, Picture, PlainLines, Remark, Stream, put_event
from .output import harmless, held_errors, is_terminal, printable, put_line, reader_is_gone
from .snapshot import table
from .sources import Source
from .words import Show

_LINGER = 8.0  # seconds that a deleted environment is still shown
_FRESH = 4.0  # seconds for which a change stands out
_MOST_LOG_LINES = 4  # below the table


def run(
    source: Callable[[], Source], *, timeout: float | None, projects: tuple[str, ...], plain: bool, as_json: bool,
    reveal: bool,
) -> int:  # fmt: skip
    """Follow the stream until it is over, or a signal comes."""
    followed = source()
    show = str if reveal else mask
    stream = Stream(followed, projects=projects)
    if as_json:
        return _follow(stream, timeout, partial(put_event, show=show))
    if is_terminal() and not plain:
        return _follow_in_table(stream, timeout, followed.name, show)
    lines = PlainLines(show, stream.picture)
    lines.say("following", "dim", followed.name)
    return _follow(stream, timeout, lines.show)


def _follow(
    stream: Stream,
    timeout: float | None,
    show: Callable[[Event], None],
    refresh: Callable[[StreamStatus], object] = bool,
) -> int:
    deadline = time.monotonic() + timeout if timeout else math.inf
    with stream:
        for event in stream.events():
            if event is not None:
                show(event)
                continue
            refresh(stream.manager.status)
            if reader_is_gone():
                return OK
            if time.monotonic() >= deadline and not stream.is_connected:
                raise stream.late(f"not connected within {timeout:g} s")
    return OK


def _follow_in_table(stream: Stream, timeout: float | None, name: str, show: Show) -> int:
    """Show a table on the terminal's alternate screen, and say at the end what was seen."""
    console = Console(highlight=False, markup=False, emoji=False)
    with held_errors() as log:
        board = Board(show, name, stream.picture, log)
        live = Live(
            board, console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )

        def refresh(status: StreamStatus) -> None:
            board.refresh(status)
            live.refresh()

        try:
            live.start()
            return _follow(stream, timeout, board.show, refresh)
        finally:
            live.stop()
            if stream.picture.registry.is_ready:
                put_line(f"{name}: {board.totals()}")


@attrs.frozen
class Row:
    """An environment in the table, and what happened to it last."""

    params: EnvironmentParams
    call: str
    number: int  # of the change; everything before the first full configuration is number 0
    at: float = attrs.field(factory=time.monotonic)

    def line(self) -> tuple[EnvironmentParams, Text, str]:
        """Return it as a line of the table, with the last change, and the style of the line."""
        seconds = time.monotonic() - self.at
        word, colour = VERBS[self.call]
        change = Text(f"{word} {words.age(seconds)}", f"{colour} {'bold' if seconds < _FRESH else ''}")
        return self.params, change, "dim" if word == "deleted" else ""


class Board:
    """
    The table: the state of the stream, the newest changes first, the filters, the last log lines.

    It is made of events and of the picture that they add up to.
    """

    def __init__(self, show: Show, name: str, picture: Picture, log: Sequence[str] = ()) -> None:
        self._show = show
        self._name = name
        self._picture = picture
        self._log = log
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
                    self._rows[params.env_id] = Row(params, event.name, self._changes)

    def refresh(self, status: StreamStatus) -> None:
        """Take up the stream's status, and forget environments that were deleted a while ago."""
        self._status = status
        oldest = time.monotonic() - _LINGER
        self._rows = {id: row for id, row in self._rows.items() if row.call != "delete_environment" or row.at > oldest}

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
            yield table([row.line() for row in rows[:room]], self._show, options.max_width, "Changed", 14)
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


def _one_line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")
