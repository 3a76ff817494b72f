"""``autoconfig watch``: follow a stream, as lines, as JSON, or as a live table."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..identifiers import mask
from . import NOT_READY, OK
from .events import JsonLines, Picture, PlainLines, Stream, View
from .output import CommandError, held_errors, is_terminal, put_line, reader_is_gone
from .sources import Source
from .words import Show


def run(
    source: Callable[[], Source], *, timeout: float | None, projects: tuple[str, ...], plain: bool, as_json: bool,
    reveal: bool,
) -> int:  # fmt: skip
    """Follow the stream until it is over, or a signal comes."""
    followed = source()
    show = str if reveal else mask
    picture = Picture(projects)
    if as_json:
        return _follow(followed, JsonLines(show, picture), timeout)
    if is_terminal() and not plain:
        with _table(show, followed.name, picture) as table:
            return _follow(followed, table, timeout)
    lines = PlainLines(show, picture)
    lines.say("following", "dim", followed.name)
    return _follow(followed, lines, timeout)


def _follow(source: Source, view: View, timeout: float | None) -> int:
    deadline = time.monotonic() + timeout if timeout else math.inf
    with Stream(source) as stream:
        for event in stream.events():
            if event is not None:
                view.show(event)
                continue
            status = stream.manager.status
            view.refresh(status)
            if reader_is_gone():
                return OK
            if time.monotonic() >= deadline and not stream.is_connected:
                reason = f": {status.last_error.message}" if status.last_error else ""
                raise CommandError(
                    "--timeout", f"not connected within {timeout:g} s{reason}", "autoconfig doctor", NOT_READY
                )
    return OK


@contextmanager
def _table(show: Show, name: str, picture: Picture) -> Iterator[View]:
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
