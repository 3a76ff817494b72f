"""Hostile bytes between and inside events: encodings, controls, ids, retry lines, bursts."""

from __future__ import annotations

import logging

import pytest
from faults.events import SMALL, Event, environment, patch, put
from faults.server import Wire, stream
from faults.table import ATTEMPTS, FAILED, MODES, WAITED, Fault, go_through, survive, table

ENDED = "ended the stream"
UNKNOWN = "Ignored an event of unknown name"
NEXT = patch("elm", 1)
SKY = Event("patch", {"path": "/environments/sky", "data": {**environment("sky", 1), "envName": "a\ufffdb"}})
SKY_START, SKY_END = SKY.wire.split(b"a\\ufffdb")


def read(name: str, *parts: bytes | Event, brings: tuple[Event, ...] = (SMALL, NEXT), **more: object) -> Fault:
    """Return an entry for a stream that is read to its end; the end is the fault."""
    return Fault(name, stream(*parts, then=Wire.end), ENDED, brings=brings, **more)  # type: ignore[arg-type]


@MODES
@table(
    read("comment", b":\xff\xfe\xc3\n", SMALL, b":\xe2\x82\n\n", NEXT),
    read("field_name", b"d\xffta: x\n", SMALL, b"\xc3\xc3\xc3\n", NEXT),
    read("unknown_field", b"x: \xed\xa0\x80\xf8\n", SMALL, NEXT),
    read("event_name", SMALL, b"event: patch\xff\ndata: {}\n\n", NEXT, others=[UNKNOWN]),
    read("data", SMALL, SKY_START + b"a\xffb" + SKY_END, brings=(SMALL, SKY)),
    read("half_a_character", SMALL, SKY_START + b"a\xe2b" + SKY_END, brings=(SMALL, SKY)),
    read("torn_character", SMALL, SKY_START + b"a\xef", b"\xbf", b"\xbdb" + SKY_END, brings=(SMALL, SKY)),
    read("id", b"id: \xff\xfe\n", SMALL, NEXT),
    read("retry", b"retry: \xff5\n", SMALL, NEXT),
    read("bom", b"\xef\xbb\xbf", SMALL, NEXT),
    read("torn_bom", b"\xef", b"\xbb", b"\xbf", SMALL, NEXT),
    read("half_a_bom", b"\xef\xbb\n", SMALL, NEXT),
    read("two_boms", b"\xef\xbb\xbf\xef\xbb\xbfdata: x\n\n", SMALL, NEXT),
    read("bom_inside", SMALL, b"\xef\xbb\xbf", NEXT, brings=(SMALL,), others=[UNKNOWN]),
    read("utf_16", SMALL.wire.decode().encode("utf-16"), brings=()),
    read("nul_in_a_comment", b":\0\n", SMALL, b":\0\0\n\n", NEXT),
    read("nul_in_a_name", SMALL, b"event: pat\0ch\ndata: {}\n\n", NEXT, others=[UNKNOWN]),
    read("nul_in_a_field", b"\0data: x\n", SMALL, NEXT),
    read("only_nul", b"\0" * 5000 + b"\n\n", SMALL, b"\0\n" * 500 + b"\n", NEXT),
    read("nul_in_an_id", b"id: a\0b\n", SMALL, NEXT),
    read("cr_only", SMALL.wire.replace(b"\n", b"\r"), NEXT.wire.replace(b"\n", b"\r") + b":"),
    read("other_line_ends", "x\u2028\u0085\x0b\x0c: y\n".encode(), SMALL, NEXT),
    read("no_colons", b"data\nevent\nid\nretry\n\n", SMALL, b"put\n\n", NEXT, others=[UNKNOWN]),
    read("empty_lines", b"\n" * 20_000, SMALL, b"\r\n" * 20_000, NEXT),
    read("comments", b":\n" * 20_000, SMALL, b":x\r\n" * 20_000, NEXT),
    read("long_field_name", b"x" * 1_000_000 + b": y\n", SMALL, NEXT),
    read(
        "names_in_other_case",
        b"event: PUT\ndata: {\n\n",
        SMALL,
        b"event:  put\ndata: {\n\n",
        NEXT,
        others=[UNKNOWN] * 2,
    ),
    read("without_a_name", SMALL, b"data: {}\n\n", b"event\ndata: {\n\n", NEXT, others=[UNKNOWN] * 2),
    read("unknown_path", SMALL, Event("patch", {"path": "/environments/../x", "data": {}}), NEXT),
    read("put_elsewhere", SMALL, Event("put", {"path": "/environments", "data": {}}), NEXT),
    read(
        "another_id",
        SMALL,
        Event("patch", {"path": "/environments/other", "data": environment("elm", 1)}),
        NEXT,
        others=["Ignored environment 'elm'"],
    ),
)
def test_hostile_bytes(fault: Fault, chunked: bool) -> None:
    """What can be read is read, and what cannot hurts nothing else."""
    survive(fault, chunked=chunked)


IDS: dict[str, tuple[bytes, bytes | None]] = {
    "ordinary": (b"4-2", b"4-2"),
    "leading_space": (b"  x", None),
    "trailing_space": (b"x ", None),
    "tab": (b"a\tb", None),
    "bell": (b"a\x07b", None),
    "escape": (b"\x1b[31m", None),
    "delete": (b"a\x7f", None),
    "vertical_tab": (b"\x0bx", None),
    "latin_1": (b"\xe9", "\ufffd".encode()),
    "emoji": ("🎈".encode(), "🎈".encode()),
    "long": (b"x" * 5000, None),
    "enormous": (b"x" * 200_000, None),
    "second_header": (b"x\rEvil: 1", b"x"),
    "folded_header": (b"x\r Evil: 1", b"x"),
}


@pytest.mark.parametrize("name", IDS)
def test_an_id_for_a_header(name: str) -> None:
    """An id that a header cannot carry unharmed is not sent; no id can stop the reconnects or add a header."""
    raw, sent = IDS[name]
    _, requests = survive(read(name, b"id: " + raw + b"\n", SMALL, NEXT))
    assert len(requests) == ATTEMPTS + 1
    expected = None if sent is None else sent.decode("latin-1")
    assert [request.headers.get("last-event-id") for request in requests] == [None, *[expected] * ATTEMPTS]
    assert not any("evil" in request.headers for request in requests)


IGNORED = ["-5", "", "1e3", "0x10", "٣", "1_000", "+7", "5 ", " 5", "10.5", "abc", "5\0", "0", "0" * 5000, "NaN"]
CAPPED = ["60000", "9" * 30, "9" * 5000]
CAP = 0.05  # the policy's longest delay


@pytest.mark.parametrize("value", [*IGNORED, *CAPPED], ids=lambda value: ascii(value[:9]))
def test_a_hostile_retry_line(value: str) -> None:
    """What is no positive number is ignored, and a large one is capped."""
    waited = ATTEMPTS * CAP if value in CAPPED else WAITED
    survive(read("retry", f"retry: {value}\n\n".encode(), SMALL, NEXT, waited=waited))


@MODES
@pytest.mark.parametrize("later", [False, True], ids=["burst", "flood"])
def test_malformed_and_more(chunked: bool, later: bool) -> None:
    """What comes before a malformed event counts; what comes after it, in the same burst or later, does not."""
    burst = NEXT.wire + b"event: patch\ndata: {\n\n" + b"".join(patch(f"e{n}", n).wire for n in range(5))
    play = stream(SMALL, burst, then=lambda wire: wire.flood([burst] * 10_000) if later else wire.stay())
    fault = Fault("malformed", play, 'malformed "patch" event', logging.ERROR, [SMALL, NEXT])
    # Malformed bursts in a row are asked for again much more slowly, in proportion to the first delay.
    lines, _ = go_through(fault._replace(first_delay=0.001, waited=0.003), chunked=chunked)
    failures = lines.having(FAILED)
    assert len(failures) == ATTEMPTS
    assert failures[0][0] == logging.ERROR
    assert all(fault.text in text for _, text in failures)


@MODES
@pytest.mark.parametrize("data", [b"", b"data: x\n", b"data: {\n", b"id: 1\ndata\n"])
def test_reconnect_and_more(chunked: bool, data: bytes) -> None:
    """The same for a ``reconnect``, which is no failure but backs off all the same."""
    burst = SMALL.wire + b"event: reconnect\n" + data + b"\n" + b"".join(patch(f"e{n}", n).wire for n in range(5))
    lines, _ = go_through(Fault("reconnect", stream(burst, then=Wire.stay), "", brings=[SMALL]), chunked=chunked)
    asked = [level for level, text in lines.lines if "asked for a new connection" in text]
    assert asked == [logging.INFO] * ATTEMPTS
    assert max(level for level, _ in lines.lines) == logging.INFO


def test_a_burst_over_many_events() -> None:
    """A burst of thousands of events is delivered in order and to the last one before the fault."""
    burst = [put({f"e{n}": 1 for n in range(100)}), *[patch(f"e{n % 100}", n) for n in range(2, 3000)]]
    data = b"".join(event.wire for event in burst)
    survive(Fault("burst", stream(data, then=Wire.end), ENDED, brings=burst))
