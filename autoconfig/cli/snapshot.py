"""``autoconfig snapshot``: wait for the first full configuration, and print it; and the table of environments."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..environments import AcceptedKey, EnvironmentParams
from ..identifiers import mask
from ..status import ErrorKind, StreamStatus
from . import OK, words
from .events import Picture, Stream
from .output import CommandError, is_terminal, printable, put_json, put_line, warn
from .sources import Source
from .words import Show

_KEY = 12  # columns of a masked key: sdk-…9f2a, and +2 for two more
_KEY_IN_FULL = 40
_LEAST, _SPLIT = 18, 26  # columns for the names: the fewest beside a key; enough to show project and environment apart


def run(source: Callable[[], Source], *, timeout: float, form: str, reveal: bool) -> int:
    """Print the configuration."""
    with Stream(source()) as stream:
        refused = _wait_until_complete(stream, timeout)
    picture, ignored = stream.picture, stream.ignored
    if (refused or ignored) and not picture.registry.environments:
        problem = f"nothing that came can be used: {'; '.join(refused + ignored)}"
        fix = f"{stream.advice}; and ask LaunchDarkly's support if the data is at fault"
        raise CommandError("the configuration", problem, fix)
    for name, texts in (("refused", refused), ("ignored", ignored)):
        for text in texts:
            warn(name, text)
    if refused or ignored:
        warn("the configuration", f"{len(refused)} refused, {len(ignored)} ignored; the rest is complete")
    show = str if reveal else mask
    if form == "json":
        put_json(words.configuration_json(picture.registry, show))
    else:
        for line in _lines(picture, show) if form == "table" else words.variables(picture.environments(), form):
            put_line(line)
    return OK


def _wait_until_complete(stream: Stream, timeout: float) -> list[str]:
    """Wait for the first full configuration, or for one of which nothing can be used; return what is refused."""
    for event in stream.events(time.monotonic() + timeout):
        if stream.picture.registry.is_ready:
            return words.refusals(stream.manager.status)
        match event:
            # If a part can be used, the client keeps the connection. Otherwise it reconnects, and gets the same again.
            case StreamStatus(connected_since=None, last_error=error) if error and error.kind is ErrorKind.INVALID_DATA:
                return words.refusals(stream.settle()) or [error.message]
    raise stream.late(f"no full configuration within {timeout:g} s")


def _lines(picture: Picture, show: Show) -> Iterator[str]:
    """Yield lines for people: a table as wide as the terminal, or elsewhere as wide as it needs."""
    environments, filters = picture.environments(), picture.filters()
    if not is_terminal():
        yield from wide_table(environments, show)
    elif show is str:
        yield from blocks(environments)
    elif environments:
        console = Console(highlight=False, markup=False, emoji=False)
        lines = [(one, Text("yes", "green") if one.secure_mode else Text("no", "dim"), "") for one in environments]
        console.print(table(lines, show, console.width, "Secure", 6))
    if filters:
        yield f"Filters: {', '.join(filters)}"
    yield picture.totals()


def wide_table(environments: Sequence[EnvironmentParams], show: Show) -> Iterator[str]:
    """Yield a line for each environment with nothing cut, for files and other programs."""
    rows = [[printable(cell) or "-" for cell in _cells(params, show).values()] for params in environments]
    rows[:0] = [list(_cells(params, show)) for params in environments[:1]]
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(set_cell_size, row, widths)).rstrip()


def blocks(environments: Iterable[EnvironmentParams]) -> Iterator[str]:
    """Yield lines of which none is longer than a key, because no terminal has room for full keys in a table."""
    for params in environments:
        yield words.title(params)
        for head, value in list(_cells(params, str).items())[2:]:
            yield from (f"  {head:11}  {printable(part)}" for part in value.split(", ") if value)
        yield ""


def _cells(params: EnvironmentParams, show: Show) -> dict[str, str]:
    """Return all that is shown of an environment, by the head of the column."""
    return {
        "Project": words.project_name(params),
        "Environment": words.environment_name(params),
        "ID": params.env_id,
        "SDK keys": ", ".join(show(key.value) for key in params.accepted_sdk_keys),
        "Mobile keys": ", ".join(show(key.value) for key in params.accepted_mobile_keys),
        "TTL": words.ttl(params),
        "Secure": "yes" if params.secure_mode else "no",
        "Expires": ", ".join(f"{show(value)} at {words.moment(end)}" for value, end in words.expiring_keys(params)),
    }


def table(
    lines: Iterable[tuple[EnvironmentParams, Text, str]], show: Show, width: int, last: str, last_width: int
) -> Table:
    """
    Return a table for a terminal of this width. The widths of the columns depend on nothing else.

    A line is an environment, its last cell, and its style.
    """
    columns = _columns(width, last_width, _KEY_IN_FULL if show is str else _KEY)
    found = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for head, size in columns.items():
        whole = show is str and head.endswith("key")  # nothing of it may be missing
        found.add_column(head, width=size, no_wrap=not whole, overflow="fold" if whole else "ellipsis")
    found.add_column(last, width=last_width, no_wrap=True, overflow="ellipsis")
    for params, cell, style in lines:
        cells = _narrow_cells(params, show)
        if "Project" not in columns:
            cells["Environment"] = words.title(params)
        found.add_row(*(Text(printable(cells[head])) for head in columns), cell, style=style)
    return found


def _columns(width: int, last: int, key: int) -> dict[str, int]:
    """Return the columns before the last one, with their widths: the most that leave names their room."""
    others = [("SDK key", key), ("Expires", 9), ("Mobile key", key), ("TTL", 9)]
    for count in (4, 2, 1, 0):
        columns = dict(others[:count])
        room = width - last - sum(columns.values()) - 2 * (count + 2)  # older versions of rich pad the last one too
        if room >= (_SPLIT if count > 1 else _LEAST):
            break
    if room < _SPLIT:
        return {"Environment": max(4, room), **columns}
    return {"Project": room * 2 // 5, "Environment": room - room * 2 // 5 - 2, **columns}


def _narrow_cells(params: EnvironmentParams, show: Show) -> dict[str, str]:
    ends = words.expiring_keys(params)
    left = (ends[0][1] - datetime.now(timezone.utc)).total_seconds() if ends else 0
    return _cells(params, show) | {
        "SDK key": _keys(params.sdk_key, params.accepted_sdk_keys, show),
        "Mobile key": _keys(params.mobile_key, params.accepted_mobile_keys, show),
        "Expires": "" if not ends else f"in {words.age(left)}" if left > 0 else "expired",
    }


def _keys(main: str, accepted: Sequence[AcceptedKey], show: Show) -> str:
    """Return an environment's main key, and how many more are accepted."""
    more = len({key.value for key in accepted} - {main})
    return f"{show(main)} +{more}" if more else show(main)
