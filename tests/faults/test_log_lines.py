"""What an operator reads: an outage is told once, and so is its end, whatever a stream brings."""

from __future__ import annotations

import json
import logging

import pytest
from faults.events import SMALL, Event, environment
from faults.server import FaultServer, Play, Wire, stream
from faults.table import (
    DEADLINE,
    FAILED,
    FIRST_DELAY,
    Lines,
    check_safe,
    manager_of,
    wait_until_healthy,
)
from support.recorder import Recorder

MALFORMED = stream(b"event: put\ndata: {\n\n", then=Wire.stay)
OVERSIZED = stream(b"x" * 2000, then=Wire.stay)


def refused(wire: Wire) -> None:
    wire.head(503, {"Transfer-Encoding": "", "Content-Length": "0"})


def played(*plays: Play) -> Play:
    """Return a play that is another one on each connection."""
    return lambda wire: plays[wire.turn % len(plays)](wire)


def through(play: Play, connections: int, *, first_delay: float = FIRST_DELAY, **config: int) -> Lines:
    """Return what is logged while a fault lasts for some connections, and after it."""
    recorder, lines = Recorder(), Lines()
    with FaultServer(play, connections) as server:
        manager = manager_of(server.url, recorder, lines, config, first_delay=first_delay)
        manager.start()
        try:
            wait_until_healthy(recorder, lines)
        finally:
            assert manager.close(DEADLINE)
    check_safe(lines)
    return lines


def test_an_outage_of_many_kinds_is_one_outage() -> None:
    """One WARNING, one INFO, however the failures change in between; and how many there were."""
    kinds = [refused, Wire.fin, Wire.reset, stream(then=Wire.end), stream(b"event: pu", then=Wire.end)]
    lines = through(played(*kinds), 2 * len(kinds))
    levels = [level for level, _ in lines.having(FAILED)]
    assert levels == [logging.WARNING, *[logging.DEBUG] * (2 * len(kinds) - 1)]
    [(level, text)] = lines.having("The stream is back")
    assert level == logging.INFO
    assert text.endswith(f" and {2 * len(kinds)} failed attempts")
    assert lines.having("Connected") == [(logging.INFO, "Connected")]


def test_two_outages_are_two() -> None:
    """After a recovery the next failure is a WARNING again."""
    lines = through(played(refused, refused, stream(SMALL, then=Wire.end), refused), 4)
    levels = [level for level, _ in lines.having(FAILED)]
    assert levels == [logging.WARNING, logging.DEBUG, logging.WARNING, logging.DEBUG]
    assert [text.split(" and ")[1] for _, text in lines.having("The stream is back")] == ["2 failed attempts"] * 2


@pytest.mark.parametrize("play", [MALFORMED, OVERSIZED], ids=["malformed", "oversized"])
def test_what_is_wrong_with_the_service_is_told_once(play: Play) -> None:
    """The first one is an ERROR; while it goes on the same way, the repeats are DEBUG."""
    # Malformed data in a row is asked for again much more slowly, in proportion to the first delay.
    lines = through(play, 4, first_delay=0.0001, max_event_bytes=1000)
    assert [level for level, _ in lines.having(FAILED)] == [logging.ERROR, *[logging.DEBUG] * 3]
    assert len(lines.having("The stream is back")) == 1


def test_a_malformed_event_in_an_outage_is_told() -> None:
    """It is another kind of failure than a network that is down, so it has a line although the outage had one."""
    lines = through(played(refused, MALFORMED, refused), 3)
    assert [level for level, _ in lines.having(FAILED)] == [logging.WARNING, logging.ERROR, logging.DEBUG]


HOSTILE = {
    "line_ends": "a\n2026-01-01 CRITICAL root: forged\r\nb\u2028c\u2029d\u0085e\x0bf\x0cg",
    "controls": "\x1b[2J\x1b]0;owned\x07\b\b\b\x7f\x00",
    "directions": "\u202egnp.exe\u2066\ufeff",
    "long": "x" * 100_000,
}


def patch_of(id: str, **fields: str) -> Event:
    return Event("patch", {"path": f"/environments/{id}", "data": {**environment("sky", 1), "envID": id, **fields}})


def filter_of(text: str) -> Event:
    return Event("patch", {"path": f"/filters/{text}", "data": {"key": text, "projKey": text, "version": 1}})


def mismatch(text: str) -> Event:
    return Event("patch", {"path": f"/environments/{text}", "data": environment("elm", 1)})


def deletion(kind: str, text: str) -> Event:
    return Event("delete", {"path": f"/{kind}/{text}", "version": 5})


SITES = {
    "environment_names": lambda text: [patch_of("sky", envName=text, projName=text)],
    "environment_id": lambda text: [patch_of(text), patch_of(text), deletion("environments", text)],
    "environment_stale_deletion": lambda text: [deletion("environments", text), deletion("environments", text)],
    "filter": lambda text: [filter_of(text), filter_of(text), deletion("filters", text)],
    "mismatch": lambda text: [mismatch(text), patch_of("elm", envID=text)],
    "unknown_path": lambda text: [Event("patch", {"path": text, "data": {}}), deletion(text, text)],
    "put_path": lambda text: [Event("put", {"path": text, "data": {}})],
}


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("kind", HOSTILE)
def test_names_cannot_forge_lines(site: str, kind: str) -> None:
    """Whatever text a stream brings, a log line stays one printable line of a readable length."""
    through(stream(*SITES[site](HOSTILE[kind]), then=Wire.end), 1)


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_service_cannot_forge_lines(kind: str) -> None:
    """Nor does an event's name or its broken data."""
    name = HOSTILE[kind].replace("\r", "").replace("\n", "")
    wrong = json.dumps({"path": "/", "data": {"environments": {HOSTILE[kind]: 5}}})
    data = f"event: {name}\ndata: x\n\nevent: put\ndata: {wrong}\n\n".encode()
    lines = through(stream(data, then=Wire.stay), 1)
    assert sorted(level for level, _ in lines.lines if level > logging.INFO) == [logging.WARNING, logging.ERROR]
