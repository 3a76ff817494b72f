"""``autoconfig doctor``: each step from the options to the first put, and what to do about the one that fails."""

from __future__ import annotations

import shutil
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from urllib.parse import urljoin

import requests

from ..identifiers import mask, show
from ..status import ErrorInfo, ErrorKind, StreamState, StreamStatus
from . import KEY_REJECTED, OK
from .doctor_network import PROXY_LOGIN, Check, CheckFailedError, Finding, NetworkChecks, checked_source, findings
from .doctor_tls import TLSCheck
from .events import Stream
from .output import CommandError, harmless, is_terminal, painted, printable, put_line, put_record, shown_uri
from .sources import Connection, Fleet, Source, needs_redis
from .words import brief_time, counted, refusals

_STREAM_TYPE = "text/event-stream"
_HEARTBEAT = 180  # seconds between two heartbeats of the real service
_LONGEST = 30_000_000.0  # seconds; just below what HTTPConfig takes
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "dim"}
_TIMED = ("dns", "tcp", "tls", "http")
_WORTH_TELLING = 0.002  # seconds
_MARGIN = 21  # columns before the text
_WRONG_KIND = "The key of an auto-configuration profile begins with rel-; SDK keys and API tokens are others."
_REJECTED = "Is it the key of an auto-configuration profile (rel-…), and was it reset since?"
_SLOW = "Try again with a longer --timeout. The service, or something on the way, is slow."
_HELD_BACK = "Does something on the way hold the stream back? A proxy must not buffer or inspect text/event-stream."
_STRANGER = "That host is not the URI's, so it is not sent the key. If it is the service, change the URI."
_NO_STREAM = "Something other than the service answered, such as a proxy's login page. Open the URI in a browser."
_BAD_DATA = "Is this the right service? If so, report it to LaunchDarkly."
_STATUS_FIXES = {
    401: _STRANGER,  # from the URI's own host, these two reject the key
    403: _STRANGER,
    404: "Is the URI the service's base? /relay_auto_config is added to its path.",
    407: PROXY_LOGIN,
    429: "Too many requests: are there many clients, or is one started again and again?",
}
_OTHER_STATUS = "The service, or a proxy before it, has a problem: see https://status.launchdarkly.com, or try later."


def run(*, source: partial[Source], timeout: float, heartbeat: float | None, as_json: bool) -> int:
    """Check everything."""
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
    """Makes sessions that record all responses, redirects included."""

    def __init__(self) -> None:
        self._replies: list[tuple[int, str]] = []  # statuses, and where they lead to
        self.content_type = ""

    def session(self) -> requests.Session:
        """Return a new session."""
        session = requests.Session()
        session.hooks["response"] = [self._note]
        return session

    @property
    def status(self) -> int:
        """The status of the last answer; 0 if there was none, or if the last one was a redirect."""
        return 0 if not self._replies or self._replies[-1][1] else self._replies[-1][0]

    @property
    def redirects(self) -> list[tuple[int, str]]:
        """The status and the target of each redirect."""
        return [one for one in self._replies if one[1]]

    @property
    def detour(self) -> str:
        """The redirects in words; ``""`` without one."""
        steps = [f"{status} to {target}" for status, target in self.redirects]
        return f" after {', then '.join(steps)}" if steps else ""

    def details(self) -> dict[str, object]:
        """Return the same for programs."""
        redirects = [{"status": status, "location": target} for status, target in self.redirects]
        return {"status": self.status or None, "redirects": redirects}

    def _note(self, response: requests.Response, *_: Any, **__: Any) -> None:
        location = response.headers.get("Location", "") if response.is_redirect else ""
        self._replies.append((response.status_code, _shown_location(response.url, location)))
        self.content_type = response.headers.get("Content-Type", "")


def _shown_location(url: str, location: str) -> str:
    """Return the whole target of a redirect, without secrets; a relative one may name another host."""
    try:
        return harmless(shown_uri(urljoin(url, location))) if location else ""
    except ValueError:  # brackets that do not match, and the like
        return "something that is not a URL"


class Examination:
    """All checks of the service, in their order. From ``http`` on, the real client follows the stream."""

    def __init__(self, source: Callable[[], Source], timeout: float, heartbeat: float | None, stack: ExitStack) -> None:
        self._options = source
        self._timeout = timeout
        self._heartbeat = heartbeat
        self._stack = stack
        self._replies = Replies()
        self._error: ErrorInfo | None = None

    def checks(self) -> Iterator[Check]:
        """Yield the name of each check and the function that makes it."""
        yield "configuration", self.configuration
        yield "proxy", lambda: self._network.proxy()
        yield "dns", lambda: self._network.dns()
        yield "tcp", lambda: self._network.tcp()
        yield "tls", lambda: self._tls.certificate()
        yield "http", self.http
        yield "content type", self.content_type
        yield "first put", self.first_put
        yield "heartbeat", self.heartbeat

    def configuration(self) -> Finding:
        """Check the options."""
        source: Connection = checked_source(self._options)
        self._source = source
        self._network = NetworkChecks(source, self._timeout)
        self._tls = TLSCheck(source, self._network)
        key = mask(source.key)
        text = f"{source.name} ({source.uri_name}), key {key} ({source.key_name})"
        details = {"uri": source.name, "uri_from": source.uri_name, "key": key, "key_from": source.key_name}
        if not source.key.startswith("rel-"):
            return Finding(text, _WRONG_KIND, "warn", details)
        return Finding(text, details=details)

    def http(self) -> Finding:
        """Make the request."""
        replies = self._replies
        patience = min(max(self._timeout, self._heartbeat or 0.0) + 60, _LONGEST)  # the checks' own limits come first
        http = {"session_factory": replies.session, "connect_timeout": self._timeout, "read_timeout": patience}
        self._began = time.monotonic()
        # The client must not try again before this check has seen why the first attempt failed.
        self._stream = self._stack.enter_context(Stream(self._source, http=http, initial_retry_delay=30.0))
        try:
            self._wait(lambda: self._stream.is_connected)
        except CommandError as error:
            rejected = error.code == KEY_REJECTED
            raise (self._rejected() if rejected else CheckFailedError(error.problem, error.fix)) from None
        if self._error and replies.status != requests.codes.ok:  # else it is the content type, the next check's
            raise self._no_answer(self._error)
        if not self._stream.is_connected and not self._error:
            raise CheckFailedError(f"no answer within {self._timeout:g} s{self._through()}", _SLOW, replies.details())
        if replies.redirects:
            fix = f"If the redirect is meant to last, change the URI ({self._source.uri_name})."
            return Finding(f"200{replies.detour}", fix, "warn", replies.details())
        return Finding("200", details=replies.details())

    def content_type(self) -> Finding:
        """Check that the answer is a stream."""
        found = self._replies.content_type
        if not self._stream.is_connected:
            raise CheckFailedError(f"{show(found)} instead of {_STREAM_TYPE}", _NO_STREAM, {"content_type": found})
        return Finding(_STREAM_TYPE, details={"content_type": found})

    def first_put(self) -> Finding:
        """Wait for the full configuration."""
        registry = self._stream.picture.registry
        self._wait(lambda: registry.is_ready)
        if registry.is_ready:
            return self._counted()
        if self._error is None:
            text = f"no put within {self._timeout:g} s"
            if came := self._stream.manager.status.events_received:
                raise CheckFailedError(f"{text} that can be used, and {counted(came, 'other event')}", _BAD_DATA)
            raise CheckFailedError(text, _HELD_BACK)
        if self._error.kind is ErrorKind.INVALID_DATA:
            raise self._unusable(refusals(self._stream.settle()), self._error.message)
        raise CheckFailedError(f"{self._error.message}, before a put", _HELD_BACK)

    def heartbeat(self) -> Finding:
        """Wait for the next sign of life."""
        if self._heartbeat is None:
            return Finding(f"not checked; use --heartbeat {_HEARTBEAT + 20} to wait for one", state="skip")
        manager = self._stream.manager
        before = manager.status
        self._wait(lambda: manager.status.last_byte_at != before.last_byte_at, self._heartbeat)
        now = manager.status
        if self._error:
            fix = f"Something closes quiet connections; the service sends a heartbeat every {_HEARTBEAT} s."
            raise CheckFailedError(self._error.message, fix)
        if now.last_byte_at == before.last_byte_at or not now.last_byte_at or not before.last_byte_at:
            text = f"nothing within {self._heartbeat:g} s"
            if self._heartbeat >= _HEARTBEAT:
                raise CheckFailedError(text, _HELD_BACK)
            return Finding(text, f"The service sends one every {_HEARTBEAT} s only; wait longer.", "warn")
        gap = (now.last_byte_at - before.last_byte_at).total_seconds()
        what = "event" if now.events_received > before.events_received else "heartbeat"
        return Finding(f"{what} after {brief_time(gap)}", details={"gap": round(gap, 3), "what": what})

    def _wait(self, done: Callable[[], bool], timeout: float | None = None) -> None:
        """Take events until it is done, until the client reports an error, or until the time is over."""
        for event in self._stream.events(time.monotonic() + (timeout or self._timeout)):
            if isinstance(event, StreamStatus) and event.connected_since is None:
                # events() raises the reason when the stream is off.
                self._error = None if event.state is StreamState.OFF else event.last_error
            if self._error or done():
                return

    def _rejected(self) -> CheckFailedError:
        replies, source = self._replies, self._source
        fix = _REJECTED
        if replies.status == requests.codes.forbidden:
            fix += " Or does something on the way forbid it?"
        key = f"the key {mask(source.key)} ({source.key_name})"
        text = f"{replies.status}{replies.detour}: the service rejected {key}"
        return CheckFailedError(text, fix, replies.details(), KEY_REJECTED)

    def _no_answer(self, error: ErrorInfo) -> CheckFailedError:
        replies, route, uri_name = self._replies, self._network.route, self._source.uri_name
        text = f"{error.message}{self._through()}"
        fix = "The host could be reached a moment ago. Try again."
        if status := replies.status:
            text = f"{status}{replies.detour}{self._through()}"
            fix = _STATUS_FIXES.get(status, _OTHER_STATUS)
        elif replies.redirects:
            target = replies.redirects[-1][1]
            text = f"{replies.detour.lstrip()}: {error.message}"
            fix = f"The service's own host answers, but sends the client to {target}, which cannot be used. "
            fix += f"Is the URI right ({uri_name})? If it is, the redirect has to be mended."
        elif route.scheme == "http" and not route.proxy and self._tls.is_spoken():
            text = f"{route.target} speaks TLS, and was spoken to in plain HTTP"
            fix = f"Change the URI ({uri_name}): https:// instead of http://."
        return CheckFailedError(text, fix, replies.details())

    def _through(self) -> str:
        proxy = self._network.route.shown_proxy
        return f", through {proxy}" if proxy else ""

    def _unusable(self, refused: list[str], reason: str = "") -> CheckFailedError:
        ignored = self._stream.ignored
        reasons = [*refused, *ignored] or [reason]
        details = {"refused": len(refused), "ignored": len(ignored)}
        return CheckFailedError(f"nothing of the put can be used: {printable('; '.join(reasons))}", _BAD_DATA, details)

    def _counted(self) -> Finding:
        took = time.monotonic() - self._began
        refused, ignored = refusals(self._stream.manager.status), self._stream.ignored
        registry = self._stream.picture.registry
        if not registry.environments and (refused or ignored):
            raise self._unusable(refused)
        counts = {"environments": len(registry.environments), "filters": len(registry.filters)}
        details = {**counts, "after": round(took, 3), "refused": refused, "ignored": ignored}
        text = f"{self._stream.picture.totals()} after {brief_time(took)}"
        if refused or ignored:
            text += f"; {len(refused)} refused, {len(ignored)} ignored: {printable('; '.join(refused + ignored))}"
            return Finding(text, "The rest is in use. Report these to LaunchDarkly's support.", "warn", details)
        if not registry.environments:
            return Finding(text, "Does the profile's policy cover the environments that you expect?", "warn", details)
        return Finding(text, details=details)


def _print(name: str, finding: Finding, took: float, *, as_json: bool) -> None:
    if as_json:
        fields = {"check": name, "state": finding.state, "text": finding.text, "fix": finding.fix or None}
        put_record(**fields, seconds=round(took, 3), details=dict(finding.details))
        return
    state = painted(f"{finding.state.upper() if finding.state == 'fail' else finding.state:4}", _COLOURS[finding.state])
    text = finding.text
    if took >= _WORTH_TELLING and name in _TIMED and finding.state in ("ok", "warn"):
        text += f", {brief_time(took)}"
    for line in _folded(f"{name:13}  {text}", _MARGIN - 6):
        put_line(f"{state}  {line}")
        state = " " * 4
    for line in _folded(f"{'':13}  → {finding.fix}", _MARGIN - 4) if finding.fix else ():
        put_line(f"{state}  {line}")


def _folded(text: str, indent: int) -> list[str]:
    """Return the text in lines that fit the terminal; elsewhere it is one line."""
    if not is_terminal():
        return [text]
    width = max(34, shutil.get_terminal_size().columns - 6)
    return textwrap.wrap(text, width, subsequent_indent=" " * indent, break_on_hyphens=False)
