"""
Draw the picture of ``autoconfig watch`` for the documentation: the real table at 80 columns, following the emulator.

    python docs/pictures/make_watch.py docs/pictures/watch.svg

Needs the package with its extra ``cli``. The picture needs no network: rich's links to fonts are taken out, so that a
page shows it in whatever monospaced font it has.
"""

from __future__ import annotations

import io
import re
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from rich.console import Console
from rich.text import Text

from autoconfig import StreamManager
from autoconfig.cli import demo
from autoconfig.cli.events import Call, Stream
from autoconfig.cli.tables import Board
from autoconfig.identifiers import mask
from autoconfig.testing import Emulator

WIDTH, HEIGHT = 80, 16
SHOWN_URI = "https://stream.launchdarkly.com"
FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Service:
    """The emulator as what is followed."""

    name = SHOWN_URI
    key_name = "the emulator's key"

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def manager(self, handler: Any, *, logger: Any = None, **settings: Any) -> StreamManager:
        """Return a manager that follows the emulator."""
        return StreamManager(self._emulator.key, self._emulator.uri, handler, logger=logger, **settings)


def main(path: str) -> None:
    """Let the emulator play a part of the demo's story, and draw what ``watch`` shows of it."""
    with Emulator(demo.ENVIRONMENTS, demo.FILTERS) as emulator, Stream(Service(emulator)) as stream:
        board = Board(mask, SHOWN_URI, stream.picture)
        follow(stream, board, lambda call: call.name == "received_all_environments")
        pause(4)
        emulator.set_environment(replace(demo.STAGING, env_name="QA", default_ttl=10))
        pause(3)
        emulator.rotate_sdk_key(demo.PRODUCTION.env_id, demo.NEW_SDK_KEY, timedelta(minutes=30))
        emulator.set_environment(demo.PREVIEW)
        follow(stream, board, lambda call: call.id == demo.PREVIEW.env_id)
        pause(2)
        board.refresh(stream.manager.status)
        Path(path).write_text(drawn(board), "utf-8")


def follow(stream: Stream, board: Board, is_last: Callable[[Call], bool]) -> None:
    """Show events up to a call."""
    for event in stream.events(time.monotonic() + 10):
        if event is not None:
            board.show(event)
        if isinstance(event, Call) and is_last(event):
            return
    raise TimeoutError("the emulator did not play")


def pause(seconds: float) -> None:
    """Let the picture age, so that it has something to tell."""
    threading.Event().wait(seconds)


def drawn(board: Board) -> str:
    """Return the picture."""
    console = Console(
        record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=WIDTH, height=HEIGHT,
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    console.print(Text("$ autoconfig watch", "dim"))
    console.print(board)
    svg = console.export_svg(title="autoconfig watch", unique_id="watch")
    # "monospace" is the last of rich's choices already.
    return FONT_FACE.sub("", svg)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "watch.svg")
