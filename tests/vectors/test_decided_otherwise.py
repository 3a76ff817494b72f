"""Where this library does not do what the recorded relay did, what it does is written down here, vector by vector."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

import pytest
from support.scripted_server import Item, payload
from vectors import playing
from vectors.playing import Call, Outcome, Vector

from autoconfig import RetryPolicy

VECTORS = {vector["name"]: vector for vector in playing.load("reference.json") if "decided_otherwise" in vector}
AS_THE_SERVICE = {name: playing.respelled(vector) for name, vector in VECTORS.items()}
QUICK = RetryPolicy(max_delay=0.02)  # what caps a huge `retry:` line
HEADERS = {"authorization": "rel-key-1", "accept": "text/event-stream", "cache-control": "no-cache"}
TARGET = "/relay_auto_config?rpacProtocolVersion=2"
STRINGS = dict.fromkeys(["envKey", "envName", "mobKey", "projKey", "projName", "sdkKey"], "")
ZERO = {**STRINGS, "expiringSdkKey": None, "secureMode": False, "ttl_ns": 0}


class Decision(NamedTuple):
    """What this library does: callbacks, number of requests, and the requests' targets and headers if they matter."""

    callbacks: list[Call]
    connections: int = 1
    requests: list[dict[str, Any]] | None = None


def request(target: str = TARGET, **headers: str) -> dict[str, Any]:
    return {"target": target, "headers": {**HEADERS, **headers}}


def added(env_id: str = "e1", **fields: Any) -> Call:
    return {"call": "add_environment", "params": {"envId": env_id, **ZERO, **fields}}


def updated(**fields: Any) -> Call:
    return {"call": "update_environment", "params": {"envId": "oak", **ZERO, **fields}}


def filter_added(id: str, key: str = "", proj: str = "") -> Call:
    return {"call": "add_filter", "params": {"id": id, "key": key, "projKey": proj}}


def harbour(env_id: str, **fields: Any) -> Call:
    """Return the addition of an environment in the form that most vectors give it."""
    names = {"envKey": f"key-{env_id}", "envName": f"Harbour {env_id}", "projKey": "quay", "projName": "Quay"}
    return added(env_id, **{**names, "mobKey": f"mob-{env_id}", "sdkKey": f"sdk-{env_id}", **fields})


def shop(**fields: Any) -> Call:
    """Return the addition of the environment that the vectors about single fields vary."""
    names = {"envKey": "prod", "envName": "Prod", "projKey": "shop", "projName": "Shop"}
    keys = {"mobKey": "mob-1", "sdkKey": "sdk-1", "secureMode": True, "ttl_ns": 300_000_000_000}
    return added(**{**names, **keys, **fields})


def expiring(milliseconds: int, key: str = "old") -> dict[str, Any]:
    return {"expiration_ms": milliseconds, "key": key}


ALL: Call = {"call": "received_all_environments"}
OAK_GONE: Call = {"call": "delete_environment", "params": {"id": "oak"}}
F1_GONE: Call = {"call": "delete_filter", "params": {"id": "f1"}}
OAK = [harbour("oak"), ALL]
OAK_F1 = [harbour("oak"), filter_added("f1", "tide", "quay"), ALL]
E1_F1 = [harbour("e1"), filter_added("f1", "tide", "quay"), ALL]
IGNORED = Decision([])
RESTART = Decision([], connections=2)
PLAIN = Decision([added()])
EVERYTHING_GOES = Decision([*OAK_F1, OAK_GONE, F1_GONE, ALL])
LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z, the last millisecond that datetime holds
MINUTE = 60_000_000_000  # nanoseconds
LONGEST = timedelta.max // timedelta(microseconds=1) * 1000
SHORTEST = timedelta.min // timedelta(microseconds=1) * 1000

# Only letters of ASCII fold. Go folds two others as well: the long s and the sign of kelvin.
OTHER_LETTERS = {
    "patch_json_key_long_s": PLAIN,
    "patch_json_key_kelvin": PLAIN,
    "filter_json_kelvin": Decision([filter_added("f1", proj="p")]),
}
# A member that comes twice: the last one wins, objects are not merged, and a null wins too.
LAST_WINS = {
    "patch_json_sdkKey_duplicate_merges": Decision([shop(sdkKey="", expiringSdkKey=expiring(7))]),
    "patch_json_sdkKey_duplicate_null": Decision([shop(sdkKey="")]),
    "patch_json_key_duplicate": Decision([added(envName="two")]),
    "patch_json_key_duplicate_null_keeps": PLAIN,
    "patch_json_key_duplicate_bad_first": Decision([added(envName="two")]),
    "patch_json_key_duplicate_id": PLAIN,
    "patch_json_key_duplicate_version": PLAIN,
    "patch_json_top_path_duplicate": Decision([shop()]),
    "patch_json_top_data_duplicate_last_wins": Decision([added(projName="second")]),
    "put_json_dup_env_key_last_wins": Decision([*OAK_F1, added(envName="second"), OAK_GONE, F1_GONE, ALL]),
    "put_json_dup_environments_union": Decision([*OAK_F1, added("e2"), OAK_GONE, F1_GONE, ALL]),
    "put_json_dup_environments_null_clears": EVERYTHING_GOES,
    "put_json_dup_data_case_variant_merges": Decision(
        [*OAK_F1, added("e2"), OAK_GONE, filter_added("f9", "k"), F1_GONE, ALL]
    ),
    "put_json_dup_data_merges": Decision([*OAK_F1, OAK_GONE, filter_added("f9", "k"), F1_GONE, ALL]),
    "put_json_dup_data_null_noop": EVERYTHING_GOES,
    "put_json_dup_path": EVERYTHING_GOES,
    "put_json_dup_env_same_key_merge_check": EVERYTHING_GOES,
    "delete_json_dup_version": Decision(E1_F1),
}
# Times that datetime and timedelta cannot hold become the nearest that they can; those that they can hold are exact.
CLAMPED = {
    "patch_json_sdkKey_expiring_timestamp_i64max": Decision([shop(sdkKey="s", expiringSdkKey=expiring(LAST_MS))]),
    "patch_json_sdkKey_expiring_timestamp_2p63": Decision([shop(sdkKey="s", expiringSdkKey=expiring(LAST_MS))]),
    "patch_json_sdkKey_expiring_timestamp_u64max": Decision([shop(sdkKey="s", expiringSdkKey=expiring(LAST_MS))]),
    "patch_json_defaultTtl_i64max": Decision([shop(ttl_ns=LONGEST)]),
    "patch_json_defaultTtl_i64min": Decision([shop(ttl_ns=SHORTEST)]),
    "patch_json_defaultTtl_long": RESTART,  # more than 64 bits, so not an integer of the protocol at all
    "patch_json_defaultTtl_wrap_edge": Decision([shop(ttl_ns=153722867 * MINUTE)]),
    "patch_json_defaultTtl_wrap": Decision([shop(ttl_ns=153722868 * MINUTE)]),
    "patch_json_defaultTtl_wrap_neg": Decision([shop(ttl_ns=-153722868 * MINUTE)]),
    "patch_json_defaultTtl_wrap2": Decision([shop(ttl_ns=307445735 * MINUTE)]),
    "patch_json_defaultTtl_i32over": Decision([shop(ttl_ns=2147483648 * MINUTE)]),
}
# One U+FFFD for each longest part of a sequence that could have been right so far: Python's way.
REPLACED = {
    "sse_invalid_utf8_event_name": IGNORED,
    "patch_json_invalid_utf8_name": Decision([added(envName="a\ufffdb\ufffd(c\ufffd")]),
    "patch_json_invalid_utf8_overlong": Decision([added(envName="\ufffd" * 5)]),
    "patch_json_invalid_utf8_surrogate_bytes": Decision([added(envName="\ufffd" * 3)]),
    "patch_json_invalid_utf8_above_max": Decision([added(envName="\ufffd" * 4)]),
    "patch_json_invalid_utf8_id_and_path": Decision([added("e\ufffd")]),
    "patch_json_invalid_utf8_in_key": PLAIN,
    "patch_json_invalid_utf8_outside_string": RESTART,
    "patch_json_invalid_utf8_latin1": Decision([added(envName="caf\ufffd")]),
    "put_json_invalid_utf8_same_key_after_replacement": Decision([added("e\ufffd"), ALL]),
}
NEGATIVE_ZERO = {
    "patch_json_sdkKey_expiring_timestamp_negzero": Decision([shop(sdkKey="s", expiringSdkKey=expiring(0))]),
}
SECRETS = ["mob-987654321", "sdk-0123456789", "old-abcdefgh", "sdk-with-space", "mob-space-before-colon"]
OTHERS = {
    "debug_log_obfuscation": Decision(
        [
            harbour(
                "oak", mobKey=SECRETS[0], sdkKey=SECRETS[1], expiringSdkKey={"expiration_ms": 5, "key": SECRETS[2]}
            ),
            ALL,
            updated(sdkKey=SECRETS[3], mobKey=SECRETS[4]),
            updated(sdkKey="sdk-upper", mobKey="mob-upper"),
            updated(sdkKey="abc", mobKey='ab"cdef'),
        ]
    ),
    "http_content_type_not_checked": RESTART,
    "http_protocol_version_2_replaces_query": Decision(
        [ALL], requests=[request("/base/relay_auto_config?x=1&y=2&rpacProtocolVersion=2")]
    ),
    "last_event_id_empty_resets_state_but_header_stays": Decision(
        [*OAK, OAK_GONE, ALL], connections=3, requests=[request(), request(**{"last-event-id": "77"}), request()]
    ),
    "retry_huge_overflow_crash": RESTART,
    "retry_overflow_boundary_crash": RESTART,
    "sse_bom": Decision(OAK),
}
DECISIONS = {**OTHER_LETTERS, **LAST_WINS, **CLAMPED, **REPLACED, **NEGATIVE_ZERO, **OTHERS}
# What the decoder of an interpreter with room for the nesting makes of it.
DEEP = {
    "patch_json_deep_array_9996": PLAIN,
    "patch_json_deep_array_9997": PLAIN,
    "patch_json_deep_array_9998": PLAIN,
    "patch_json_deep_array_9999": PLAIN,
    "patch_json_deep_array_10000": PLAIN,
    "patch_json_deep_array_20000": PLAIN,
    "patch_json_deep_object_5000": PLAIN,
    "patch_json_deep_in_unknown_path": IGNORED,
}
MODES = pytest.mark.parametrize(("framing", "chunking"), [("chunked", "event"), ("close", "byte")])
SPELLINGS = pytest.mark.parametrize("recorded", [VECTORS, AS_THE_SERVICE], ids=["envID", "envId"])


def play(name: str, connections: Sequence[Sequence[Item]], framing: str, chunking: str) -> Outcome:
    return playing.play(VECTORS[name], connections, framing=framing, chunking=chunking, retry_policy=QUICK)


def check(outcome: Outcome, decision: Decision) -> None:
    """Compare all that a decision says; requests that it does not mention are the ordinary one again and again."""
    assert playing.canonical(outcome.callbacks, []) == playing.canonical(decision.callbacks, [])
    playing.check_requests(outcome.requests, decision.requests or [request()] * decision.connections)
    assert outcome.ready is None


@MODES
@SPELLINGS
@pytest.mark.parametrize("name", DECISIONS)
def test_the_client_does_what_was_decided(
    name: str, recorded: Mapping[str, Vector], framing: str, chunking: str
) -> None:
    """Callbacks, requests and readiness are those of the table."""
    decision = DECISIONS[name]
    empty: list[list[Item]] = [[]] * decision.connections
    script = [*recorded[name]["connections"], *empty][: decision.connections]
    check(play(name, script, framing, chunking), decision)


@MODES
@SPELLINGS
@pytest.mark.parametrize("name", DEEP)
def test_nesting_past_the_limit_is_malformed(
    name: str, recorded: Mapping[str, Vector], framing: str, chunking: str
) -> None:
    """The event changes nothing and the stream restarts, unless the interpreter has room for the nesting."""
    # The sentinel on both connections: a client that restarts never delivers the first one.
    script = [[*recorded[name]["connections"][0], playing.LAST_EVENT], []]
    outcome = play(name, script, framing, chunking)
    # Up to 3.11 sys.getrecursionlimit() bounds the decoder too; since 3.12 the C stack does, by far more.
    accepted = sys.version_info >= (3, 12) and len(outcome.requests) == 1
    check(outcome, DEEP[name] if accepted else RESTART)


@MODES
@pytest.mark.parametrize("data", ["{", None], ids=["malformed", "reconnect"])
def test_a_restart_leaves_the_rest_of_a_burst(data: str | None, framing: str, chunking: str) -> None:
    """Nothing that follows in the same burst is delivered, and the next connection is made (the relay hangs there)."""
    event = {"event": "patch", "data": data} if data else {"event": "reconnect", "data": ""}
    burst = "".join(payload(item, "").decode() for item in [event, *[playing.LAST_EVENT] * 5])
    outcome = play("sse_bom", [[{"raw": burst}], []], framing, chunking)
    check(outcome, RESTART)


def test_very_deep_nesting_is_malformed_everywhere() -> None:
    """No interpreter has room for 100,000 levels, and none may crash on them."""
    data = '{"path":"/environments/e1","data":{"envId":"e1","x":' + "[" * 100_000 + "]" * 100_000 + "}}"
    script: list[list[Item]] = [[{"event": "patch", "data": data}], []]
    check(play("patch_json_deep_array_20000", script, "chunked", "event"), RESTART)


def test_no_log_line_holds_a_key(caplog: pytest.LogCaptureFixture) -> None:
    """Masking is by structure, so no spelling of the JSON lets a key through, at any level."""
    caplog.set_level(logging.DEBUG)
    name = "debug_log_obfuscation"
    play(name, VECTORS[name]["connections"], "chunked", "event")
    assert caplog.records
    assert [key for key in [*SECRETS, "sdk-upper", "mob-upper", "rel-key-1"] if key in caplog.text] == []


def test_the_tables_name_what_is_decided_otherwise() -> None:
    """Every vector that is excluded from the comparison with the relay has its own outcome here, and no other has."""
    assert {*DECISIONS, *DEEP} == set(VECTORS)
    assert len(DECISIONS) + len(DEEP) == len(VECTORS) == 58


def test_the_last_instant_is_datetimes() -> None:
    """The number in the table is what datetime can hold, cut to the wire's milliseconds."""
    last = datetime.max.replace(tzinfo=timezone.utc)
    assert (last - playing.EPOCH) // timedelta(milliseconds=1) == LAST_MS
