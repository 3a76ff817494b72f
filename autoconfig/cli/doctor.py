"""``autoconfig doctor``: each step from the options to the first put, and what to do about the one that fails."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import zip_longest
from typing import Any
from urllib.parse import urljoin

import requests

from ..identifiers import mask, show
from ..status import ErrorInfo, ErrorKind, StreamState, StreamStatus
from ..validation import LONGEST
from . import FAILURE, KEY_REJECTED, OK
from .doctor_network import PROXY_LOGIN, Check, CheckFailedError, Finding, NetworkChecks, findings
from .events import Stream
from .output import CommandError, harmless, is_terminal, painted, put_line, put_record, shown_uri
from .sources import Fleet, Source, needs_redis
from .words import brief_time, counted, refusals

_STREAM_TYPE = "text/event-stream"
_HEARTBEAT = 180  # seconds between two heartbeats of the real service
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_TIMED = ("dns", "tcp", "tls", "http")
_WORTH_TELLING = 0.002  # seconds
_SLOW = "Try again with a longer --timeout. The service, or something on the way, is slow."
_NO_HTTP = "The host could be reached a moment ago, so try again. Or is this the port of another service?"
_BAD_PROXY = "The proxy could be reached a moment ago, so try again. Or is it another kind of proxy than its URL says?"
_REJECTED = "Is it the key of an auto-configuration profile (rel-…), and was it reset since?"
_REJECTED_FIXES = {401: _REJECTED, 403: f"{_REJECTED} Or does something on the way forbid it?"}
_STRANGER = "A redirect leads to another host, which does not get the key. If that is the service, change the URI."
_STATUS_FIXES = {
    401: _STRANGER,  # from the URI's own host, these two reject the key
    403: _STRANGER,
    404: "Is the URI the service's base? /relay_auto_config is added to its path.",
    407: PROXY_LOGIN,
    429: "Too many requests: are there many clients, or is one started again and again?",
}
_OTHER_STATUS = "The service, or a proxy before it, has a problem: see https://status.launchdarkly.com, or try later."
_DEAD_END = (
    "The service's own host answers, but sends the client to {target}, which cannot be used. Is the URI right "
    "({uri_name})? If it is, somebody has to correct the redirect."
)
_NO_STREAM = "Something other than the service answered, such as a proxy's login page. Open the URI in a browser."
_HELD_BACK = "Does something on the way hold the stream back? A proxy must not buffer or inspect text/event-stream."
_BAD_DATA = "Is this the right service? If so, report it to LaunchDarkly."
_PARTLY_BAD_DATA = "The rest is in use. Report these to LaunchDarkly's support."
_EMPTY = "Does the profile's policy cover the environments that you expect?"
_CLOSED = f"Something closes quiet connections; the service sends a heartbeat every {_HEARTBEAT} s."
_TOO_SHORT = f"The service sends one every {_HEARTBEAT} s only; wait longer."


def run(*, source: partial[Source], timeout: float, heartbeat: float | None, as_json: bool) -> int:
    """Make all checks; return the exit code."""
    code = OK
    with ExitStack() as stack:
        if source.func is Fleet:
            with needs_redis():
                from .doctor_fleet import FleetExamination
            checks = FleetExamination(source, timeout, stack).checks()
        else:
            checks = Examination(source, timeout, heartbeat, stack).checks()
        for name, finding, took in findings(checks):
            _print(name, finding, took, as_json=as_json)
            if finding.state == "fail":
                code = finding.code
    return code


class Replies:
    """
    Makes sessions that record all responses.

    Attributes:
        status: The status of the last one; 0 if there was none, or if it was a redirect.
        content_type: Its content type.
        redirects: The status and the target of each redirect, without secrets.
    """

    def __init__(self) -> None:
        self.status = 0
        self.content_type = ""
        self.redirects: list[dict[str, Any]] = []

    def session(self) -> requests.Session:
        """Return a new session."""
        session = requests.Session()
        session.hooks["response"] = [self._note]
        return session

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        self.status = response.status_code
        self.content_type = response.headers.get("Content-Type", "")
        if response.is_redirect and (location := response.headers["Location"]):
            self.redirects.append({"status": self.status, "location": _shown_location(response.url, location)})
            self.status = 0

    @property
    def words(self) -> str:
        """The status and the redirects before it."""
        detour = ", then ".join(f"{one['status']} to {one['location']}" for one in self.redirects)
        return f"{self.status or ''}{detour and f' after {detour}'}".lstrip()

    @property
    def details(self) -> dict[str, Any]:
        """The same for programs."""
        return {"status": self.status or None, "redirects": self.redirects}


def _shown_location(url: str, location: str) -> str:
    """Return the whole target of a redirect, without secrets; a relative one may name another host."""
    try:
        return harmless(shown_uri(urljoin(url, location)))
    except ValueError:  # brackets that do not match, and the like
        return "something that is not a URL"


class Examination:
    """All checks of the service, in their order. From ``http`` on, the real client follows the stream."""

    def __init__(self, source: Callable[[], Any], timeout: float, heartbeat: float | None, stack: ExitStack) -> None:
        self._network = NetworkChecks(source, timeout)
        self._timeout, self._patience, self._stack = timeout, heartbeat, stack
        self._replies = Replies()
        self._error: ErrorInfo | None = None

    def checks(self) -> Iterator[Check]:
        """Yield the name of each check and the function that makes it."""
        yield from self._network.checks()
        yield "http", self._http
        yield "content type", self._content_type
        yield "first put", self._first_put
        yield "heartbeat", self._heartbeat

    def _http(self) -> Finding:
        replies, source = self._replies, self._network.source
        http = {"session_factory": replies.session, "connect_timeout": self._timeout, "read_timeout": LONGEST}
        self._began = time.monotonic()
        # The client must not try again before this check has seen why the first attempt failed.
        self._stream = self._stack.enter_context(Stream(source, http=http, initial_retry_delay=30.0))
        try:
            self._wait(lambda: self._stream.is_connected)
        except CommandError as error:
            raise (self._no_answer(KEY_REJECTED) if error.code == KEY_REJECTED else error) from None
        if replies.status != requests.codes.ok:
            raise self._no_answer(FAILURE)
        fix = f"If the redirect is meant to last, change the URI ({source.uri_name})." if replies.redirects else ""
        return Finding(replies.words, fix, replies.details)

    def _no_answer(self, code: int) -> CheckFailedError:
        replies, network, source = self._replies, self._network, self._network.source
        reason = self._error.message if self._error else f"no answer within {self._timeout:g} s"
        text = f"{replies.words or reason}{network.through}"
        if code == KEY_REJECTED:
            text += f": the service rejected the key {mask(source.key)} ({source.key_name})"
            fix = _REJECTED_FIXES[replies.status]
        elif replies.status in (0, requests.codes.bad_request) and not replies.redirects and network.needs_tls():
            text = f"{network.target} expects TLS, and got plain HTTP"
            fix = f"Change the URI ({source.uri_name}): https:// instead of http://."
        elif replies.status:
            fix = _STATUS_FIXES.get(replies.status, _OTHER_STATUS)
        elif replies.redirects:
            text += f": {reason}"
            fix = _DEAD_END.format(target=replies.redirects[-1]["location"], uri_name=source.uri_name)
        elif self._error:
            fix = _BAD_PROXY if network.through else _NO_HTTP
        else:
            fix = _SLOW
        return CheckFailedError(text, fix, replies.details, code)

    def _content_type(self) -> Finding:
        found = self._replies.content_type
        if not self._stream.is_connected:
            raise CheckFailedError(f"{show(found)} instead of {_STREAM_TYPE}", _NO_STREAM, {"content_type": found})
        return Finding(_STREAM_TYPE, details={"content_type": found})

    def _first_put(self) -> Finding:
        registry, manager = self._stream.picture.registry, self._stream.manager
        self._wait(lambda: registry.is_ready)
        took = time.monotonic() - self._began
        invalid = self._error.message if self._error and self._error.kind is ErrorKind.INVALID_DATA else ""
        refused, ignored = refusals(self._stream.settle() if invalid else manager.status), self._stream.ignored
        bad = "; ".join(refused + ignored)
        counts = {"environments": len(registry.environments), "filters": len(registry.filters)}
        details = {**counts, "after": round(took, 3), "refused": refused, "ignored": ignored}
        if not registry.environments and (bad or invalid):
            raise CheckFailedError(f"nothing of the put can be used: {bad or invalid}", _BAD_DATA, details)
        if not registry.is_ready:
            raise self._no_put(manager.status.events_received)
        text, fix = f"{self._stream.picture.totals()} after {brief_time(took)}", "" if registry.environments else _EMPTY
        if bad:
            text, fix = f"{text}; {len(refused)} refused, {len(ignored)} ignored: {bad}", _PARTLY_BAD_DATA
        return Finding(text, fix, details)

    def _no_put(self, events: int) -> CheckFailedError:
        if self._error:
            return CheckFailedError(f"{self._error.message}, before a put", _HELD_BACK)
        text = f"no put within {self._timeout:g} s"
        if events:
            return CheckFailedError(f"{text} that can be used, and {counted(events, 'other event')}", _BAD_DATA)
        return CheckFailedError(text, _HELD_BACK)

    def _heartbeat(self) -> Finding:
        if self._patience is None:
            return Finding(f"not checked; use --heartbeat {_HEARTBEAT + 20} to wait for one", state="skip")
        manager = self._stream.manager
        before = manager.status
        self._wait(lambda: manager.status.last_byte_at != before.last_byte_at, self._patience)
        now = manager.status
        if self._error:
            raise CheckFailedError(self._error.message, _CLOSED)
        if now.last_byte_at == before.last_byte_at or not now.last_byte_at or not before.last_byte_at:
            text = f"nothing within {self._patience:g} s"
            if self._patience >= _HEARTBEAT:
                raise CheckFailedError(text, _HELD_BACK)
            return Finding(text, _TOO_SHORT)
        gap = (now.last_byte_at - before.last_byte_at).total_seconds()
        what = "event" if now.events_received > before.events_received else "heartbeat"
        return Finding(f"{what} after {brief_time(gap)}", details={"gap": round(gap, 3), "what": what})

    def _wait(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Take events until ``done()`` is true, the client reports an error, or the time is over."""
        for event in self._stream.events(time.monotonic() + (timeout or self._timeout)):
            if isinstance(event, StreamStatus) and event.connected_since is None:
                # events() raises the reason when the stream is off.
                self._error = None if event.state is StreamState.OFF else event.last_error
            if self._error or done():
                return


def _print(name: str, finding: Finding, took: float, *, as_json: bool) -> None:
    text, fix, state = finding.text, finding.fix, finding.state
    if as_json:
        seconds, details = round(took, 3), dict(finding.details)
        put_record(check=name, state=state, text=text, fix=fix or None, seconds=seconds, details=details)
        return
    if took >= _WORTH_TELLING and name in _TIMED and state in ("ok", "warn"):
        text += f", {brief_time(took)}"
    lines = _folded(f"{name:13}  {text}", 15) + (_folded(f"{'':13}  → {fix}", 17) if fix else [])
    mark = painted(f"{'FAIL' if state == 'fail' else state:4}", _COLOURS[state])
    for one, line in zip_longest([mark], lines, fillvalue=" " * 4):
        put_line(f"{one}  {line}")


def _folded(text: str, indent: int) -> list[str]:
    """Return the text in lines that fit the terminal; elsewhere it is one line."""
    width = max(34, shutil.get_terminal_size().columns - 6) if is_terminal() else sys.maxsize
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)
