"""``autoconfig doctor``: find out what keeps the client from the stream, one step after the other."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from ..identifiers import mask
from .arguments import NoKeyError, UsageError, seconds
from .connection import add_connection_options, connection_from
from .findings import Finding, TroubleError
from .network_checks import NetworkChecks
from .outcome import OK
from .output import harmless, has_colour, is_terminal, painted, put_line, shown_uri
from .stream_checks import StreamChecks
from .wording import brief_time

SUMMARY = "check the way to the service step by step, and say what to do"
DESCRIPTION = """\
Check one after the other: configuration, proxy, DNS, TCP, TLS, HTTP status,
content type, the first put, and with --heartbeat that the stream stays alive.
Each is a line: ok, warn, FAIL or skip, with what to do if something is wrong.
After the first failure the rest is skipped. No key and no password is shown.

Exit code 0 if nothing failed, 3 if the key was rejected, 2
for wrong options, else 1."""

DEFAULT_TIMEOUT = 10.0  # seconds
_STYLES = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_TIMED = ("dns", "tcp", "tls", "http")
_WORTH_TELLING = 0.002  # seconds
_MARGIN = 21  # columns before the text


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_connection_options(
        parser,
        timeout=f"how long each check may take (default {DEFAULT_TIMEOUT:g})",
        default_timeout=DEFAULT_TIMEOUT,
    )
    parser.epilog = None
    parser.add_argument(
        "--heartbeat",
        type=seconds,
        metavar="SECONDS",
        help="also wait so long for a heartbeat or an event after the first one; the service sends a heartbeat "
        "every 180 seconds (default: not at all)",
    )
    parser.add_argument("--json", action="store_true", help="print each check as a JSON object in a line of its own")


def run(options: argparse.Namespace) -> int:
    """Check everything."""
    code = OK
    with ExitStack() as stack:
        for name, finding, took in Examination(options, stack).findings():
            _print(name, finding, took, as_json=options.json)
            if finding.state == "fail":
                code = finding.code
    return code


class Examination:
    """
    All checks, in their order.

    Args:
        options: The command's.
        stack: Closes what they open.
    """

    def __init__(self, options: argparse.Namespace, stack: ExitStack) -> None:
        self._options = options
        self._stack = stack

    def findings(self) -> Iterator[tuple[str, Finding, float]]:
        """Make each check, and yield its name, what it found, and how many seconds it took."""
        failed = ""
        for name, check in self._checks():
            began = time.monotonic()
            if failed:
                finding = Finding(f"because {failed} failed", state="skip")
            else:
                try:
                    finding = check()
                except TroubleError as trouble:
                    finding, failed = trouble.finding, name
            yield name, finding, time.monotonic() - began

    def _checks(self) -> Iterator[tuple[str, Callable[[], Finding]]]:
        yield "configuration", self._configuration
        yield "proxy", lambda: self._network.proxy()
        yield "dns", lambda: self._network.dns()
        yield "tcp", lambda: self._network.tcp()
        yield "tls", lambda: self._network.tls()
        yield "http", lambda: self._stream.http()
        yield "content type", lambda: self._stream.content_type()
        yield "first put", lambda: self._stream.first_put()
        yield "heartbeat", lambda: self._stream.heartbeat()

    def _configuration(self) -> Finding:
        options = self._options
        try:
            way = connection_from(options)
        except NoKeyError as error:
            fix = "Set AUTO_CONFIG_KEY, or try it without an account: autoconfig emulate"
            raise TroubleError(str(error), fix) from None
        except UsageError as error:
            raise TroubleError(harmless(str(error)), "See autoconfig doctor --help.") from None
        self._network = NetworkChecks(way, options.timeout)
        self._stream = StreamChecks(way, options.timeout, options.heartbeat, self._stack)
        text = f"{shown_uri(way.uri)} ({way.uri_from}), key {mask(way.key)} ({way.key_from})"
        details = {"uri": shown_uri(way.uri), "uri_from": way.uri_from, "key": mask(way.key), "key_from": way.key_from}
        if not way.key.startswith("rel-"):
            fix = "The key of an auto-configuration profile begins with rel-; SDK keys and API tokens are others."
            return Finding(text, fix, "warn", details)
        return Finding(text, details=details)


def _print(name: str, finding: Finding, took: float, *, as_json: bool) -> None:
    if as_json:
        fields = {"check": name, "state": finding.state, "text": finding.text, "fix": finding.fix or None}
        put_line(json.dumps({**fields, "seconds": round(took, 3), "details": dict(finding.details)}))
        return
    state = f"{finding.state.upper() if finding.state == 'fail' else finding.state:4}"
    if has_colour():
        state = painted(state, _STYLES[finding.state])
    text = finding.text
    if took >= _WORTH_TELLING and name in _TIMED and finding.state in ("ok", "warn"):
        text += f", {brief_time(took)}"
    for line in _folded(f"{name:13}  {text}", _MARGIN - 6):
        put_line(f"{state}  {line}")
        state = " " * 4
    for line in _folded(f"{'':13}  → {finding.fix}", _MARGIN - 4) if finding.fix else ():
        put_line(f"{state}  {line}")


def _folded(text: str, indent: int) -> list[str]:
    """Return the text in lines as the terminal has room for; elsewhere it is one line."""
    if not is_terminal():
        return [text]
    width = max(40, shutil.get_terminal_size().columns - 6)
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)
