"""A server that repeats keys where nobody expects them: what it says is not repeated in the log."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from safety.check import DONE, check
from safety.log import LogWatch
from safety.story import KEY, MOBILE, SDK, environment, event, patch, put
from safety.wire import ENDED, Follow, redirect
from support.recorder import Failing, Recorder
from support.scripted_server import Item

FILTER = {"projKey": SDK, "key": MOBILE, "version": 1}
LISTED = {"environments": {SDK: environment("another", 1)}}

# What the server sends before all is well again.
STREAMS: dict[str, list[Item]] = {
    "name": [event(SDK, "data")],
    "name of a line": [{"raw": f"{SDK}: value\n{MOBILE}\n\n"}],
    "name without data": [{"raw": f"event: {KEY}\n\n"}],
    "id": [{"raw": f"id: {KEY}\ndata: x\n\n"}],
    "retry": [{"raw": f"retry: {KEY}\n\n"}],
    "path of a put": [event("put", {"path": f"/{SDK}", "data": {}})],
    "path of a patch": [event("patch", {"path": f"/{SDK}", "data": {}})],
    "path of a delete": [event("delete", {"path": f"/{SDK}", "version": 1})],
    "id in the list": [event("put", {"path": "/", "data": LISTED})],
    "id of its own": [event("put", {"path": "/", "data": {"environments": {"one": environment(SDK, 1)}}})],
    "id of what is malformed": [event("put", {"path": "/", "data": {"environments": {SDK: {"envKey": 5}}}}), ENDED],
    "id of a filter that is malformed": [event("put", {"path": "/", "data": {"filters": {SDK: []}}}), ENDED],
    "key that is not in the list": [put(environment("one", 1, sdkKeys=[{"key": "name", "value": MOBILE}]))],
    "name of a key": [patch(environment("one", 1, sdkKeys=[{"key": MOBILE, "value": [SDK]}]))],
    "name of an environment": [put(environment("one", 1)), patch(environment("one", 2, envName=SDK, projName=MOBILE))],
    "id of a deletion": [put(environment(SDK, 1)), event("delete", {"path": f"/environments/{SDK}", "version": 2})],
    "id of what is old": [put(environment(SDK, 2)), patch(environment(SDK, 1))],
    "key of a filter": [event("patch", {"path": "/filters/f", "data": FILTER})],
    "field": [event("put", {"path": 5, SDK: MOBILE}), ENDED],
    "number": [event("delete", f'{{"path": "/environments/one", "version": -{"7" * 5000}}}'), ENDED],
}

ANSWERS: dict[str, list[Item]] = {
    "content type": [{"headers": {"Content-Type": f"text/html; key={KEY}"}}, ENDED],
    "body": [{"status": 500, "body": KEY, "headers": {"X-Echo": KEY}}],
    "scheme of a redirect": redirect(f"{KEY}://somewhere/{SDK}"),
    "user of a redirect": redirect(f"http://{KEY}:{SDK}@127.0.0.1:1/"),
    "port of a redirect": redirect(f"http://127.0.0.1:{KEY}/"),
    "content length": [{"headers": {"Content-Length": f"{KEY},1"}}, ENDED],
    "content encoding": [{"headers": {"Content-Encoding": f"gzip, {KEY}"}}, {"raw": SDK}, ENDED],
    "cookie": [{"status": 302, "headers": {"Set-Cookie": f"{KEY}; Domain={SDK}", "Location": "/there"}}],
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_what_the_stream_repeats_is_not_logged(
    stream: list[Item], stack: ExitStack, follow: Follow, recorder: Recorder, log: LogWatch
) -> None:
    check([[*stream, ENDED], [DONE]], recorder, stack, follow, log)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_the_answer_repeats_is_not_logged(
    answer: list[Item], stack: ExitStack, follow: Follow, recorder: Recorder, log: LogWatch
) -> None:
    check([answer, [ENDED], [DONE]], recorder, stack, follow, log)


def test_an_id_that_is_a_key_is_not_logged_when_the_handler_fails(
    stack: ExitStack, follow: Follow, log: LogWatch
) -> None:
    """It fails once for each environment, so that its id is in a line about that."""
    handler = Failing(lambda name, _: RuntimeError("an error") if handler.names.count("add_environment") == 1 else None)
    check([[put(environment(SDK, 1)), ENDED], [DONE]], handler, stack, follow, log)


def test_a_broken_chunk_is_not_logged(stack: ExitStack, follow: Follow, recorder: Recorder, log: LogWatch) -> None:
    chunk: list[Item] = [{"headers": {"Transfer-Encoding": "chunked"}}, {"raw": f"{KEY}\r\n{SDK}\r\n"}, ENDED]
    check([chunk, [DONE]], recorder, stack, follow, log)
