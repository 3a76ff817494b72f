"""The live table of ``autoconfig watch``. The only module that needs rich."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from datetime import datetime, timedelta, timezone

import attrs
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..environments import EnvironmentParams, ExpiringSDKKey
from ..identifiers import mask
from .calls import Call, Picture
from .logs import StateHandler
from .output import printable, shown_uri
from .wording import Show, counted, duration

_LINGER = 8.0  # seconds that a deleted environment is still shown
_FRESH = 4.0  # seconds that a change stands out
_STYLES = {"added": "green", "updated": "yellow", "deleted": "red"}
_WIDE = 100  # columns of a terminal from which on nothing is abbreviated
_OTHER_LINES = 7  # of the terminal's height: state, heads, filters, and some air


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


class LiveTable(AbstractContextManager["LiveTable"]):
    """
    A state line, a row for each environment, and a line with the filters.

    Args:
        show: How secrets are shown.
        uri: What is followed.
    """

    def __init__(self, show: Show, uri: str) -> None:
        self._show = show
        self._masked = show is mask  # otherwise keys are long, and folded rather than cut
        self._uri = shown_uri(uri)
        self._picture = Picture()
        self._rows: dict[str, Row] = {}
        self._changes = 0
        self._complete = False
        self._state = StateHandler()
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            # What is logged to the same terminal goes above the table; what is redirected to a file stays there.
            redirect_stderr=sys.stderr is not None and sys.stderr.isatty(),
            get_renderable=self._render,
        )

    def __enter__(self) -> LiveTable:
        self._state.attach()
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._state.detach()

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

    def refresh(self) -> None:
        """Draw the table anew: times pass without a call too."""
        now = time.monotonic()
        self._rows = {id: row for id, row in self._rows.items() if row.change != "deleted" or now - row.at < _LINGER}
        self._live.refresh()

    def _render(self) -> Group:
        rows = sorted(self._rows.values(), key=_place)
        room = max(1, self._console.height - _OTHER_LINES)
        parts: list[RenderableType] = [self._state_line(), _one_line(self._state.trouble)]
        if rows:
            parts.append(self._table(rows[:room]))
        if len(rows) > room:
            parts.append(Text(f"… and {len(rows) - room} more; all are in `autoconfig watch --plain`", "dim"))
        if filters := self._picture.filters.values():
            names = sorted(printable(f"{one.key or one.id} ({one.proj_key})") for one in filters)
            parts.append(_one_line(f"Filters: {', '.join(names)}"))
        return Group(*parts)

    def _state_line(self) -> Text:
        if self._state.ended:
            style, state = "red", "ended"
        elif self._state.trouble:
            style, state = "red", "interrupted"
        elif self._complete:
            style, state = "green", "following"
        else:
            style, state = "yellow", "connecting"
        totals = counted(len(self._picture.environments), "environment"), counted(self._changes, "change")
        line = Text(f"● {state}", style, no_wrap=True, overflow="ellipsis").append(f"  {self._uri}", "default")
        return line.append(f"  {', '.join(totals)} so far" if self._complete else "", "dim")

    def _table(self, rows: list[Row]) -> Table:
        rotating = any(row.params.expiring_sdk_key for row in rows)
        wide = self._console.width >= _WIDE
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for name in ("Project", "Environment", "ID"):  # what gives way when there is not enough room
            table.add_column(_one_line(name), min_width=4)
        table.add_column("SDK key", no_wrap=self._masked, overflow="fold")
        if rotating:
            least = None if wide or not self._masked else 9  # the countdown goes below the key then
            table.add_column("Expiring", no_wrap=wide and self._masked, overflow="fold", width=least)
        table.add_column("Mobile key" if wide else "Mobile", no_wrap=self._masked, overflow="fold")
        for name in ("TTL", "Last change" if wide else "Changed"):
            table.add_column(name, no_wrap=True)
        for row in rows:
            table.add_row(*self._cells(row, rotating, wide), style="dim" if row.change == "deleted" else None)
        return table

    def _cells(self, row: Row, rotating: bool, wide: bool) -> list[Text]:
        params, age = row.params, time.monotonic() - row.at
        names = params.identifiers
        where = [names.proj_name or names.proj_key, names.env_name or names.env_key, params.env_id]
        rest = [
            self._show(params.sdk_key),
            *([self._expiring(params.expiring_sdk_key)] if rotating else []),
            self._show(params.mobile_key),
            duration(params.ttl) if params.ttl else "none",
        ]
        change = f"{row.change} {_rounded(age)}{' ago' if wide else ''}"
        style = f"{_STYLES[row.change]} {'bold' if age < _FRESH else ''}"
        return [*map(_one_line, where), *(Text(printable(cell)) for cell in rest), Text(change, style)]

    def _expiring(self, expiring: ExpiringSDKKey | None) -> str:
        if expiring is None:
            return ""
        left = expiring.expiration - datetime.now(timezone.utc)
        return f"{self._show(expiring.key)} {duration(left) if left >= timedelta(seconds=1) else 'expired'}"


def _one_line(text: str) -> Text:
    """Return a text that is cut where its column, unlike those that are set to `no_wrap`, is made narrower."""
    return Text(printable(text), no_wrap=True, overflow="ellipsis")


def _place(row: Row) -> tuple[str, str, str]:
    names = row.params.identifiers
    return names.proj_name.casefold(), names.env_name.casefold(), row.params.env_id


def _rounded(seconds: float) -> str:
    """Return a length of time in seconds only in its first minute."""
    step = 1 if seconds < 60 else 60
    return duration(timedelta(seconds=seconds // step * step)) if seconds >= 1 else "0 s"
