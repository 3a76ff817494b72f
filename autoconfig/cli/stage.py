"""What the audience of ``autoconfig demo`` sees."""

from __future__ import annotations

import json
import textwrap
import time

from .calls import Call
from .json_form import call_json
from .narration import Narrator
from .output import has_colour, painted, put_line
from .wording import Show

_WIDTH = 80
_MARGIN = 21  # columns with the time and the speaker
_NAME = 20  # columns with the name of a call


class Stage:
    """
    What the audience sees: lines in which the service and the handler take turns.

    Args:
        show: How secrets are shown.
        as_json: Whether the lines are JSON objects.
    """

    def __init__(self, show: Show, as_json: bool) -> None:
        self.narrator = Narrator(show)
        self._show = show
        self._json = as_json
        self._colour = has_colour()
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print paragraphs, which are for people only."""
        if not self._json:
            for paragraph in text.split("\n"):
                put_line("\n".join(textwrap.wrap(paragraph, _WIDTH, break_on_hyphens=False)))

    def service(self, text: str) -> None:
        """Print what the service does."""
        if self._json:
            put_line(json.dumps({"service": text}))
            return
        put_line("")
        self._speak("service", "cyan", textwrap.wrap(text, _WIDTH - _MARGIN))

    def handler(self, call: Call) -> None:
        """Print a call of the handler."""
        wording = self.narrator.put(call)
        if self._json:
            put_line(call_json(call, self._show))
            return
        head = f"{call.name:{_NAME - 2}}  {wording.title}".rstrip()
        brief = "  ".join([head, *wording.facts])
        lines = [brief]
        if len(brief) > _WIDTH - _MARGIN:
            lines = [head, *(f"{'':{_NAME}}{fact}" for fact in wording.facts)]
        self._speak("your handler", "green", lines)

    def result(self, **fields: object) -> None:
        """Print how it went, for programs."""
        if self._json:
            put_line(json.dumps(fields))

    def _speak(self, who: str, style: str, lines: list[str]) -> None:
        clock = f"{time.monotonic() - self._began:4.1f}s"
        name = f"{who:12}"
        if self._colour:
            clock, name = painted(clock, "dim"), painted(name, style)
        put_line("\n".join([f"{clock}  {name}  {lines[0]}", *(f"{'':{_MARGIN}}{line}" for line in lines[1:])]))
