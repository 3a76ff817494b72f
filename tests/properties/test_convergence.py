"""Whatever happens to the stream and in the handler, the handler ends up with what the service has. Real sockets."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from properties.world import Framing, Operation, World, named
from support.random_data import examples

from autoconfig.messages import EnvironmentRep, ExpiringKeyRep, SDKKeyRep

IDS = st.sampled_from(["a", "a", "a", "b", "", "c\u2028é😀 |%41"])
TEXT: Any = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
LONG = st.integers(-(2**63), 2**63 - 1)
REPS = st.builds(
    EnvironmentRep,
    env_key=TEXT,
    env_name=TEXT,
    mob_key=TEXT,
    proj_key=TEXT,
    proj_name=TEXT,
    sdk_key=st.builds(SDKKeyRep, TEXT, st.builds(ExpiringKeyRep, TEXT, st.integers(0, 2**64 - 1))),
    default_ttl=st.one_of(st.integers(0, 60), LONG),
    secure_mode=st.booleans(),
    version=st.integers(-3, 20),
)
ENVIRONMENTS = st.builds(named, IDS, REPS)
# Each is a line of its own, so that nothing but the next event is spoilt.
FIELDS = [
    b"data",
    b"data: {",
    b"data:x",
    b"event",
    b"event: put",
    b"event: delete",
    b"id: 7",
    b"retry: 1",
    b"retry: 9999",
]
LINES = st.one_of(
    st.sampled_from([*FIELDS, b"", b":", b"\r", b"\xff\xfe", b"data: x\n", b"event: put\n", b"event: reconnect\n"]),
    st.binary(max_size=12).filter(lambda line: b"event" not in line),
)


def operation(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Operation]:
    return st.tuples(st.just(name), *arguments)


CHANGES = [
    operation("set_environment", ENVIRONMENTS),
    operation("set_environment", ENVIRONMENTS),
    operation("delete_environment", IDS),
    operation("rotate", IDS, TEXT),
    operation("set_filter", IDS),
    operation("delete_filter", IDS),
    operation("replace", st.lists(ENVIRONMENTS, max_size=3), st.lists(IDS, max_size=2)),
]
FAILURES = [
    operation("send_put"),
    operation("send_reconnect"),
    operation("send_malformed"),
    operation("send_unknown", st.sampled_from(["Put", "message", "patch ", "é"]), TEXT),
    operation("send_line", LINES),
    operation("send_line", LINES),
    operation("fail_next", st.sampled_from([500, 503]), st.integers(1, 2)),
    operation("drop", st.sampled_from(["eof", "abrupt", "reset"])),
    operation("drop", st.sampled_from(["eof", "abrupt", "reset"])),
    operation("stall"),
    operation("resume"),
]
WAITS = [operation("catch_up")] * 5 + [operation("pause")] * 3
SENT = st.one_of(*CHANGES, operation("send_put"), operation("send_reconnect"), operation("send_malformed"))
BURST = operation("burst", st.lists(SENT, min_size=2, max_size=5))
OPERATIONS = st.one_of(*CHANGES * 3, *FAILURES, *WAITS, *[BURST] * 4)
STORIES = st.one_of(st.lists(OPERATIONS, max_size=8), st.lists(OPERATIONS, min_size=20, max_size=40))
SEEDS = st.integers(0, 2**16)
RATES = st.sampled_from([0.0, 0.2, 0.5])
FRAMINGS: st.SearchStrategy[Framing] = st.sampled_from(["close", "chunked"])


@examples(180)
@given(STORIES, SEEDS, RATES, FRAMINGS)
def test_the_handler_ends_up_with_what_the_service_has(
    operations: list[Operation], seed: int, rate: float, framing: Framing
) -> None:
    """
    Each call on the way is one that the rule for calls that raise allows, and says nothing older than the one before.
    """
    World(seed, rate, framing).run(operations)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(*CHANGES), min_size=20, max_size=40), SEEDS, FRAMINGS)
def test_a_busy_service_and_a_handler_that_fails_every_second_time(
    operations: list[Operation], seed: int, framing: Framing
) -> None:
    """Changes only, many of them, without waiting for any."""
    World(seed, 0.5, framing).run(operations)
