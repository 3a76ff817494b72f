"""``autoconfig snapshot``: wait for the first full configuration, print it, and end."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing

from ..environments import EnvironmentParams
from ..identifiers import mask
from ..manager import StreamManager
from .arguments import add_reveal_option
from .calls import CallQueue, Picture
from .connection import add_connection_options, connection_from, glance
from .json_form import environment_fields, filter_fields
from .outcome import NOT_READY, OK
from .output import complain, is_terminal, put_line
from .params import sort_key
from .plain_table import blocks, table_lines
from .relay_env import relay_variables
from .wording import Show, filter_title, totals

SUMMARY = "print all environments once, as a table or as JSON, and end"
DESCRIPTION = """\
Connect, wait for the first full configuration, print it and end: with exit code
4 if it did not come in time, and 3 if the key was rejected. For scripts:

  autoconfig snapshot --json | jq -r '.environments[].envKey'"""

DEFAULT_TIMEOUT = 30.0  # seconds


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_connection_options(
        parser,
        timeout=f"give up, with exit code 4, if not complete by then (default {DEFAULT_TIMEOUT:g})",
        default_timeout=DEFAULT_TIMEOUT,
    )
    add_reveal_option(parser)
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument(
        "--format",
        choices=("table", "json", "relay-env"),
        help="table (the default), json, or relay-env: LD_ENV_…=… lines for a Relay Proxy (with --reveal)",
    )
    forms.add_argument("--json", action="store_const", dest="format", const="json", help="the same as --format json")


def run(options: argparse.Namespace) -> int:
    """Print the configuration."""
    calls, picture = CallQueue(), Picture()
    with closing(connection_from(options).manager(calls)) as manager:
        outcome = _fill(picture, manager, calls, options.timeout)
    if outcome == OK:
        form = options.format or "table"  # not the option's default, because argparse takes a default for unsaid
        {"table": _print_table, "json": _print_json, "relay-env": _print_variables}[form](
            picture, str if options.reveal else mask
        )
    return outcome


def _fill(picture: Picture, manager: StreamManager, calls: CallQueue, timeout: float) -> int:
    """Take calls until the picture is complete; return the exit code."""
    deadline = time.monotonic() + timeout
    manager.start()
    while True:
        outcome, news = glance(manager, calls, deadline)
        for call in news:
            picture.apply(call)
            if call.name == "received_all_environments":
                return OK
        if outcome:
            return outcome
        if time.monotonic() >= deadline:
            complain("snapshot", f"no full configuration within {timeout:g} s")
            return NOT_READY


def _print_json(picture: Picture, show: Show) -> None:
    """Print one document; sorted by what changes least, so that two of them can be compared."""
    environments = [environment_fields(params, show) for params in picture.environments.values()]
    filters = [filter_fields(params) for params in picture.filters.values()]
    document = {
        "environments": sorted(environments, key=lambda one: (one["projKey"], one["envKey"], one["envID"])),
        "filters": sorted(filters, key=lambda one: (one["projKey"], one["key"], one["id"])),
    }
    put_line(json.dumps(document, indent=2 if is_terminal() else None))


def _print_variables(picture: Picture, show: Show) -> None:
    if show is mask:
        complain("snapshot", "the keys are masked, and of no use to a Relay Proxy; --reveal shows them in full")
    for line in relay_variables(_sorted(picture), show):
        put_line(line)


def _print_table(picture: Picture, show: Show) -> None:
    environments = _sorted(picture)
    filters = sorted(map(filter_title, picture.filters.values()))
    if not environments:
        lines: Iterable[str] = ()
    elif not is_terminal():
        lines = table_lines(environments, show)
    elif show is not mask:
        lines = blocks(environments, show)
    else:
        lines = () if _printed_by_rich(environments, show) else table_lines(environments, show)
    for line in lines:
        put_line(line)
    if filters:
        put_line(f"Filters: {', '.join(filters)}")
    put_line(totals(len(environments), len(filters)))


def _printed_by_rich(environments: Sequence[EnvironmentParams], show: Show) -> bool:
    """Print a table that fits the terminal; return ``False`` if that is not possible, because rich is an extra."""
    try:
        from .static_table import print_environments
    except ImportError:
        return False
    print_environments(environments, show)
    return True


def _sorted(picture: Picture) -> list[EnvironmentParams]:
    return sorted(picture.environments.values(), key=sort_key)
