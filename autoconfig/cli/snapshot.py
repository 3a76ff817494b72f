"""``autoconfig snapshot``: wait for the first full configuration, print it, and end."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..identifiers import mask
from ..status import ErrorKind, StreamStatus
from . import NOT_READY, OK
from .events import Call, Picture, Remark, Stream
from .output import CommandError, is_terminal, put_json, put_line, warn
from .sources import Source
from .words import (
    Show,
    configuration_json,
    refusals,
    relay_variables,
)

_FIX = "autoconfig doctor, which checks each step; and ask LaunchDarkly's support if the data is at fault"


def run(source: Callable[[], Source], *, timeout: float, form: str, reveal: bool) -> int:
    """Print the configuration."""
    picture = Picture()
    with Stream(source()) as stream:
        ignored = _fill(picture, stream, timeout)
        status = stream.settled_status()
    _report_unusable(picture, status, ignored)
    show = str if reveal else mask
    if form == "json":
        registry = picture.registry
        put_json(configuration_json(registry.environments.values(), registry.filters, show))
    elif form == "relay-env":
        for line in relay_variables(picture.environments()):
            put_line(line)
    else:
        _print_table(picture, show)
    return OK


def _fill(picture: Picture, stream: Stream, timeout: float) -> list[str]:
    """Take events until the picture is complete; return what was said of entries that were ignored."""
    ignored: list[str] = []
    for event in stream.events(time.monotonic() + timeout):
        if isinstance(event, Remark):
            ignored.append(event.text)
        elif isinstance(event, Call):
            picture.apply(event)
            if event.name == "received_all_environments":
                return ignored
        elif isinstance(event, StreamStatus):
            _check_data(event, stream)
    error = stream.manager.status.last_error
    reason = f": {error.message}" if error else ""
    raise CommandError(
        "--timeout", f"no full configuration within {timeout:g} s{reason}", "autoconfig doctor", NOT_READY
    )


def _check_data(status: StreamStatus, stream: Stream) -> None:
    """Fail if what came cannot be used; the client would ask for it again and again."""
    error = status.last_error
    # With a part that can be used, the connection is kept.
    if error and error.kind is ErrorKind.INVALID_DATA and status.connected_since is None:
        reasons = refusals(stream.settled_status()) or [error.message]
        raise CommandError("the configuration", f"nothing of what came can be used: {'; '.join(reasons)}", _FIX)


def _report_unusable(picture: Picture, status: StreamStatus, ignored: list[str]) -> None:
    """Name on stderr what was refused and ignored; fail if nothing else came."""
    refused = refusals(status)
    if not refused and not ignored:
        return
    if not picture.registry.environments:
        reasons = "; ".join(refused + ignored)
        raise CommandError("the configuration", f"nothing of what came can be used: {reasons}", _FIX)
    for text in refused:
        warn("refused", text)
    for text in ignored:
        warn("ignored", text)
    warn("the configuration", f"{len(refused)} refused, {len(ignored)} ignored; the rest is complete")


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
