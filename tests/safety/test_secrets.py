"""One long story in which everything goes wrong; no secret of it is seen anywhere at any level of logging."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from safety import story
from safety.certificates import Authority, Front
from safety.log import FAILED, LogWatch, chain
from safety.story import EXPIRING, KEY, MOBILE, ROTATED, SDK, UNKNOWN, environment, event, patch, put
from safety.wire import ENDED, redirect
from support.proxies import Proxy
from support.recorder import Recorder
from support.scripted_server import Item, ScriptedServer

from autoconfig import HandlerErrors, HTTPConfig, KeyRejectedError, RetryPolicy, StreamManager
from autoconfig.environments import EnvironmentParams

RESET: Item = {"close": "reset"}
BROKEN = environment("one", 9)
MALFORMED: list[Item] = [
    event("put", f'{{"path": "/", "data": {{"environments": {{"one": {{"sdkKey": {{"value": "{SDK}"'),
    event("put", f'{{"path": "/", "data": "{SDK}"}}'),
    event("patch", f'"{MOBILE}"'),
    event("patch", f'{{"path": "/environments/one", "data": {{"sdkKey": "{SDK}"}}}}'),
    event("patch", f"{{{KEY}}}"),
    event("patch", f'{{"path": "/environments/one", "data": {SDK}}}'),
    patch({**BROKEN, "mobKey": [MOBILE]}),
    patch({**BROKEN, "version": SDK}),
    patch({**BROKEN, "secureMode": MOBILE}),
    patch({**BROKEN, "sdkKey": {"value": SDK, "expiring": {"value": EXPIRING, "timestamp": EXPIRING}}}),
    patch({**BROKEN, "sdkKey": {"value": {"key": SDK}}}),
    patch({**BROKEN, "sdkKeys": [{"key": "name", "value": ROTATED}]}),
    patch({**BROKEN, "sdkKeys": [{"key": "name", "value": SDK, "expiry": EXPIRING}]}),
    patch({**BROKEN, "mobileKeys": MOBILE}),
    event("delete", {"path": {"key": SDK}, "version": 1}),
    event("delete", {"path": "/environments/one", "version": KEY}),
    event("put", f"{SDK} is not JSON"),
]
UNFRAMED: Item = {
    "raw": f'{{"sdkKey": {{"value": "{SDK}"}}}}\n\n{{"mobKey": "{MOBILE}",\n"key": "{KEY}"}}\n\n: {KEY}\n\n'
    f"{SDK}: {MOBILE}\n\nretry: {SDK}\n\nid: {MOBILE}\ndata: {KEY}\n\n{SDK}\n\n"
}
TOO_LARGE: Item = event("put", {"path": "/", "padding": KEY * 300})
LISTED = [{"key": "name", "value": SDK}, {"key": "old", "value": EXPIRING, "expiry": 4_102_444_800_000}]
GOOD = environment("one", 5, expiring=EXPIRING, sdkKeys=LISTED, mobileKeys=[{"key": "name", "value": MOBILE}])

STORY: list[list[Item]] = [
    [{"status": 500, "body": f"{KEY} {SDK}"}],
    redirect("/elsewhere"),
    [{"status": 404, "headers": {"X-Echo": KEY}}],
    [
        put(environment("one", 1, expiring=EXPIRING), environment("two", 1), f={"projKey": "project", "key": "f"}),
        patch(environment("one", 2, sdk=ROTATED, expiring=SDK)),
        event("delete", {"path": "/environments/two", "version": 2}),
        RESET,
    ],
    *[[one] for one in MALFORMED],
    [TOO_LARGE],
    [UNFRAMED, put(GOOD), event("delete", {"path": "/filters/f", "version": 9}), event("reconnect", KEY)],
    [{"status": 503, "body": SDK}],
    [{"raw": f"event: patch\ndata: {SDK}"}, ENDED],
    [put(environment("one", 6, sdk=ROTATED)), {"close": "abrupt"}],
    [{"status": 401, "body": KEY}],
]


class Witness(Recorder):
    """Fails in the call for one version, after it has noted what everything looks like from inside the call."""

    def __init__(self) -> None:
        super().__init__()
        self.reprs: list[str] = []

    def _record(self, name: str, argument: Any) -> None:
        super()._record(name, argument)
        self.reprs.append(f"{argument!r} {argument} {[thread.name for thread in threading.enumerate()]}")
        if isinstance(argument, EnvironmentParams) and argument.sdk_key == ROTATED:
            raise RuntimeError(f"cannot take {argument!r}")


@pytest.fixture
def witness(log: LogWatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Witness]:
    """The handler; after the test, everything that was logged, printed, warned of or shown is searched."""
    witness = Witness()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield witness
    printed = capfd.readouterr()
    warned = [str(warning.message) for warning in caught]
    assert story.seen("\n".join([log.everything(), *witness.reprs, printed.out, printed.err, *warned])) == []


def manager_for(uri: str, handler: Witness, **options: Any) -> StreamManager:
    """Return a manager that has every secret there is."""
    config = HTTPConfig(headers={"X-Api-Key": story.HEADER}, max_event_bytes=8000, **options)
    handler.reprs.append(f"{config!r} {config}")
    policy = RetryPolicy(max_delay=0.001, jitter=0.0)  # also for the slow profile, which is in proportion
    uri = uri.replace("//", f"//user:{story.URI_PASSWORD}@")
    manager = StreamManager(
        KEY,
        uri,
        handler,
        config,
        initial_retry_delay=0.001,
        retry_policy=policy,
        handler_errors=HandlerErrors(retry=None),
    )
    handler.reprs.append(f"{manager!r} {manager}")
    return manager


def test_the_story_of_a_stream_shows_no_secret(witness: Witness, log: LogWatch, stack: ExitStack) -> None:
    server = stack.enter_context(ScriptedServer(STORY))
    proxy = stack.enter_context(Proxy(("user", story.PASSWORD)))
    manager = manager_for(server.url, witness, proxy_url=proxy.url_for(f"user:{story.QUOTED}"))
    ready = manager.start()
    stack.callback(manager.close)
    with pytest.raises(KeyRejectedError) as rejected:
        manager.join(timeout=20)
    witness.reprs.append(repr(getattr(manager, "status", "")))
    assert ready.result(0) is None
    assert len(server.requests) == len(STORY)
    assert {params.sdk_key for name, params in witness.calls if name == "add_environment"} == {SDK}
    assert [name for name, _ in witness.calls].count("update_environment") == 3  # of which two failed
    assert [name for name, _ in witness.calls][-2:] == ["update_environment", "received_all_environments"]
    assert sum("The handler failed in update_environment 'one'" in line for line in log.lines) == 2
    assert sum("malformed" in line for line in log.lines) == len(MALFORMED)
    for piece in ("HTTP status 500", "HTTP status 404", "HTTP status 503", "limit of 8000 bytes", "(HTTP status 401)"):
        log.wait_for(piece)
    assert UNKNOWN not in str(witness.calls)
    rejected.value.__traceback__ = None  # its frames are this test's, which knows every secret
    assert story.seen(chain(rejected.value)) == []


def test_a_key_that_is_refused_at_once_is_not_in_the_error(witness: Witness, stack: ExitStack) -> None:
    server = stack.enter_context(ScriptedServer([[{"status": 403, "headers": {"WWW-Authenticate": KEY}, "body": KEY}]]))
    manager = manager_for(server.url, witness)
    error = manager.start().exception(timeout=30)
    stack.callback(manager.close)
    assert isinstance(error, KeyRejectedError)
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    witness.reprs.append(chain(error))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_refuses_learns_and_shows_nothing(
    scheme: str, witness: Witness, log: LogWatch, stack: ExitStack
) -> None:
    proxy = stack.enter_context(Proxy(("user", "another")))
    manager = manager_for(f"{scheme}://127.0.0.1:1", witness, proxy_url=proxy.url_for(f"user:{story.QUOTED}"))
    manager.start()
    stack.callback(manager.close)
    assert "407" in log.wait_for_failure()


def test_wrong_tls_shows_no_secret(
    authority: Authority, stranger: Authority, witness: Witness, log: LogWatch, stack: ExitStack
) -> None:
    server = stack.enter_context(ScriptedServer([]))
    front = stack.enter_context(Front(server, stranger.context()))
    manager = manager_for(front.url, witness, ca_certs=authority.file)
    ready = manager.start()
    assert "certificate" in log.wait_for(FAILED)
    manager.close()
    error = ready.exception(0)
    assert error is not None
    witness.reprs.append(chain(error))
