"""``autoconfig snapshot``: wait for the first full configuration, print it, and end."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..identifiers import mask
from ..status import ErrorKind, StreamStatus
from . import OK
from .events import Picture, Stream
from .output import CommandError, is_terminal, put_json, put_line, warn
from .sources import Source
from .words import Show, configuration_json, refusals, variables

_SUPPORT = "and ask LaunchDarkly's support if the data is at fault"


def run(source: Callable[[], Source], *, timeout: float, form: str, reveal: bool) -> int:
    """Print the configuration."""
    with Stream(source()) as stream:
        _wait_until_complete(stream, timeout)
        refused = refusals(stream.manager.status)
    picture = stream.picture
    if refused or stream.ignored:
        _report_unusable(refused, stream, found=bool(picture.registry.environments))
    show = str if reveal else mask
    if form == "json":
        put_json(configuration_json(picture.registry.environments.values(), picture.registry.filters, show))
    elif form == "relay-env":
        for line in variables(picture.environments(), form):
            put_line(line)
    else:
        _print_table(picture, show)
    return OK


def _wait_until_complete(stream: Stream, timeout: float) -> None:
    for event in stream.events(time.monotonic() + timeout):
        if stream.picture.registry.is_ready:
            return
        match event:
            # With a part that can be used, the connection is kept. Without one the client asks for the same again.
            case StreamStatus(connected_since=None, last_error=error) if error and error.kind is ErrorKind.INVALID_DATA:
                raise _nothing(refusals(stream.settle()) or [error.message], stream.advice)
    raise stream.late(f"no full configuration within {timeout:g} s")


def _report_unusable(refused: list[str], stream: Stream, *, found: bool) -> None:
    """Name on stderr what was refused and ignored; fail if nothing else came."""
    ignored = stream.ignored
    if not found:
        raise _nothing(refused + ignored, stream.advice)
    for text in refused:
        warn("refused", text)
    for text in ignored:
        warn("ignored", text)
    warn("the configuration", f"{len(refused)} refused, {len(ignored)} ignored; the rest is complete")


def _nothing(reasons: list[str], advice: str) -> CommandError:
    problem = f"nothing of what came can be used: {'; '.join(reasons)}"
    return CommandError("the configuration", problem, f"{advice}; {_SUPPORT}")


def _print_table(picture: Picture, show: Show) -> None:
    from .tables import print_snapshot, snapshot_blocks, snapshot_lines

    environments, filters = picture.environments(), picture.filters()
    if environments and is_terminal() and show is mask:
        print_snapshot(environments, show)
    elif environments:
        for line in snapshot_blocks(environments, show) if is_terminal() else snapshot_lines(environments, show):
            put_line(line)
    if filters:
        put_line(f"Filters: {', '.join(filters)}")
    put_line(picture.totals())
