"""
Draw the picture of ``autoconfig watch`` for the documentation: the real table, following the emulator.

    python make_watch_svg.py watch.svg

Needs the package with its extra ``cli``. The picture needs no network: rich's links to fonts are taken out, so that a
page shows it in whatever monospaced font it has.
"""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import attrs
from rich.console import Console
from rich.text import Text

from autoconfig import StreamManager
from autoconfig.cli import story
from autoconfig.cli.calls import Call, CallQueue
from autoconfig.cli.table import Board
from autoconfig.identifiers import mask
from autoconfig.testing import Emulator

WIDTH = 104  # columns
FONT_FACE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


def main(path: str) -> None:
    """Have the emulator play a part of its story, and draw what ``watch`` shows of it."""
    with Emulator(story.ENVIRONMENTS, story.FILTERS, port=8765) as service:
        calls, board = CallQueue(), Board(mask, service.uri)
        with closing(StreamManager(service.key, service.uri, calls)) as manager:
            manager.start()
            follow(calls, board, lambda call: call.name == "received_all_environments")
            pause(4)
            service.set_environment(attrs.evolve(story.STAGING, env_name="QA", default_ttl=10))
            pause(3)
            service.rotate_sdk_key(story.PRODUCTION.env_id, story.NEW_SDK_KEY, timedelta(minutes=30))
            service.set_environment(story.PREVIEW)
            follow(calls, board, lambda call: call.id == story.PREVIEW.env_id)
            pause(2)
            board.refresh(manager.status)
            Path(path).write_text(drawn(board), "utf-8")


def follow(calls: CallQueue, board: Board, last: Callable[[Call], bool]) -> None:
    """Show calls up to one."""
    while True:
        for call in calls.take(timeout=10):
            board.show(call)
            if last(call):
                return


def pause(seconds: float) -> None:
    """Let the picture age, so that it has something to tell."""
    threading.Event().wait(seconds)


def drawn(board: Board) -> str:
    """Return the picture."""
    console = Console(
        record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor", width=WIDTH, height=24,
        highlight=False, markup=False, emoji=False, legacy_windows=False,
    )  # fmt: skip
    console.print(Text("$ autoconfig watch", "dim"))
    console.print(board)
    svg = console.export_svg(title="autoconfig watch", unique_id="watch")
    # "monospace" is the last of rich's choices already.
    return FONT_FACE.sub("", svg)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "watch.svg")
