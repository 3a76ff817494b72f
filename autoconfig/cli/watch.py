"""``autoconfig watch``: follow a stream, as lines, as JSON, or as a live table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ..identifiers import mask
from ..status import StreamStatus
from . import OK
from .events import Event, Picture, PlainLines, Stream, put_event
from .output import held_errors, is_terminal, put_line, reader_is_gone
from .sources import Source
from .words import Show

if TYPE_CHECKING:
    from .tables import Board


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
        with _table(show, followed.name, stream.picture) as board:
            return _follow(stream, timeout, board.show, board.refresh)
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


@contextmanager
def _table(show: Show, name: str, picture: Picture) -> Iterator[Board]:
    """Show a table on the terminal's alternate screen, and say at the end what was seen."""
    from rich.console import Console
    from rich.live import Live

    from .tables import Board

    console = Console(highlight=False, markup=False, emoji=False)
    with held_errors() as log:
        live = Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        board = Board(show, name, picture, log, draw=lambda: live.update(board, refresh=True))
        try:
            live.start()
            yield board
        finally:
            live.stop()
            if picture.registry.is_ready:
                put_line(f"{name}: {board.totals()}")
