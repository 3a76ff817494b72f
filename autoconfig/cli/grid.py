"""Environments as a table of rich's. Only this module, table.py and static_table.py need rich."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone

import attrs
from rich.table import Table
from rich.text import Text

from ..environments import EnvironmentParams
from ..identifiers import mask
from .output import printable
from .params import expiring_keys
from .wording import Show, duration

_WIDE = 100  # columns of a terminal from which on nothing is abbreviated
_EXPIRING = 20  # columns more that it takes while a key is expiring
_SHORT_ID = 9  # columns for an id on narrower ones: its end, because ids of one day begin alike


@attrs.frozen
class GridRow:
    """
    A row.

    Attributes:
        params: The environment.
        last: What stands in the last column.
        style: The style of the row.
    """

    params: EnvironmentParams
    last: Text
    style: str = ""


class Grid:
    """
    Makes tables for a width.

    Args:
        show: How secrets are shown.
        width: The width of the terminal, in columns.

    Attributes:
        wide: Whether there is room for words in full.
    """

    def __init__(self, show: Show, width: int) -> None:
        self.wide = width >= _WIDE
        self._width = width
        self._show = show
        self._masked = show is mask  # otherwise keys are long, and folded rather than cut

    def table(self, rows: Iterable[GridRow], last: str) -> Table:
        """Return a table; ``last`` is the head of the last column."""
        rows = list(rows)
        rotating = any(expiring_keys(row.params) for row in rows)
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
        for name in ("Project", "Environment", "ID"):  # what gives way when there is not enough room
            table.add_column(one_line(name), min_width=4)
        table.add_column("SDK key", no_wrap=self._masked, overflow="fold")
        if rotating:
            least = None if self.wide or not self._masked else 9  # the countdown goes below the key then
            table.add_column("Expiring", no_wrap=self.wide and self._masked, overflow="fold", width=least)
        table.add_column("Mobile key" if self.wide else "Mobile", no_wrap=self._masked, overflow="fold")
        for name in ("TTL", last):
            table.add_column(name, no_wrap=True)
        for row in rows:
            table.add_row(*self._cells(row.params, rotating), row.last, style=row.style)
        return table

    def _cells(self, params: EnvironmentParams, rotating: bool) -> list[Text]:
        names = params.identifiers
        id: str = params.env_id
        if self._width < _WIDE + (_EXPIRING if rotating else 0) and len(id) > _SHORT_ID:
            id = f"…{id[1 - _SHORT_ID :]}"
        where = [names.proj_name or names.proj_key, names.env_name or names.env_key, id]
        expiring = "\n".join(self._expiring(value, end) for value, end in expiring_keys(params))
        return [
            *map(one_line, where),
            self._key(params.sdk_key),
            *([Text(expiring)] if rotating else []),
            self._key(params.mobile_key),
            Text(duration(params.ttl) if params.ttl else "none"),
        ]

    def _key(self, secret: str) -> Text:
        return Text(printable(self._show(secret)))

    def _expiring(self, value: str, end: datetime) -> str:
        left = end - datetime.now(timezone.utc)
        return f"{self._key(value)} {duration(left) if left >= timedelta(seconds=1) else 'expired'}"


def one_line(text: str, style: str = "") -> Text:
    """Return a text that is cut where its column, unlike those that are set to `no_wrap`, is made narrower."""
    return Text(printable(text), style, no_wrap=True, overflow="ellipsis")


def filter_line(names: Iterable[str]) -> Text:
    """Return a line with all payload filters."""
    return one_line(f"Filters: {', '.join(sorted(names))}")
