from __future__ import annotations

import re
import threading
from datetime import datetime, timezone

import pytest
from msgspec.structs import replace
from support.samples import environment

from autoconfig import (
    AcceptedKey,
    EnvironmentID,
    EnvironmentParams,
    ExpiringSDKKey,
    FilterID,
    FilterKey,
    FilterParams,
    MessageHandler,
    MobileKey,
    RetryPolicy,
    SDKKey,
    StreamManager,
)
from autoconfig.testing import Emulator, EnvironmentRep, KeyRep, RecordedCall, RecordingHandler, SDKKeyRep

ONE, TWO = EnvironmentID("env-1"), EnvironmentID("env-2")
MOBILE = FilterParams("shop", FilterID("f-1"), FilterKey("mobile"))


def following(emulator: Emulator, handler: MessageHandler) -> StreamManager:
    """Return a manager, to be used as a context manager."""
    return StreamManager(emulator.key, emulator.uri, handler, retry_policy=RetryPolicy(max_delay=0.01))


def params(id: str, version: int = 1) -> EnvironmentParams:
    return environment(id, version).to_params()


def test_records_the_calls_in_order() -> None:
    handler = RecordingHandler()
    handler.add_environment(params(ONE))
    handler.add_filter(MOBILE)
    handler.received_all_environments()
    handler.update_environment(params(ONE, 2))
    handler.delete_filter(MOBILE.id)
    handler.delete_environment(ONE)
    assert handler.calls == [
        ("add_environment", params(ONE)),
        ("add_filter", MOBILE),
        ("received_all_environments", None),
        ("update_environment", params(ONE, 2)),
        ("delete_filter", "f-1"),
        ("delete_environment", "env-1"),
    ]
    assert handler.calls[0].name == "add_environment"
    assert handler.calls[0].argument == params(ONE)


def test_has_the_present_environments_and_filters() -> None:
    handler = RecordingHandler()
    for id in ONE, TWO:
        handler.add_environment(params(id))
    handler.add_filter(MOBILE)
    handler.update_environment(params(TWO, 2))
    handler.delete_environment(ONE)
    assert handler.environments == {TWO: params(TWO, 2)}
    assert handler.filters == {MOBILE.id: MOBILE}
    handler.delete_filter(MOBILE.id)
    assert handler.filters == {}


def test_hands_out_copies() -> None:
    handler = RecordingHandler()
    handler.calls.append(RecordedCall("add_environment"))
    handler.environments[ONE] = params(ONE)
    handler.filters[MOBILE.id] = MOBILE
    assert (handler.calls, handler.environments, handler.filters) == ([], {}, {})


def test_follows_a_stream() -> None:
    handler = RecordingHandler()
    with Emulator([environment(ONE)]) as emulator, following(emulator, handler):
        handler.wait_for("received_all_environments")
        assert handler.wait_for("add_environment").env_id == ONE
        emulator.set_environment(environment(ONE, 2))
        assert handler.wait_for("update_environment") == params(ONE, 2)
        emulator.delete_environment(ONE)
        assert handler.wait_for("delete_environment") == ONE
    assert handler.environments == {}


def test_records_a_refusal() -> None:
    """Of an environment whose keys contradict each other, which the emulator serves all the same."""
    handler = RecordingHandler()
    contradictory = EnvironmentRep(TWO, sdk_key=SDKKeyRep("sdk-1"), sdk_keys=(KeyRep("default", "sdk-2"),))
    with Emulator([environment(ONE), contradictory]) as emulator, following(emulator, handler):
        id, reason = handler.wait_for("environment_refused")
    assert id == TWO
    assert "sdkKeys" in reason
    assert handler.calls.count(("environment_refused", (id, reason))) == 1
    assert list(handler.environments) == [ONE]


def test_waits_for_a_call_that_is_still_to_come() -> None:
    handler = RecordingHandler()
    waiting = threading.Event()
    caller = threading.Thread(target=lambda: waiting.wait(30) and handler.add_environment(params(TWO)))
    caller.start()
    handler.add_environment(params(ONE))

    def is_two(found: EnvironmentParams) -> bool:
        waiting.set()
        return found.env_id == TWO

    assert handler.wait_for("add_environment", matching=is_two) == params(TWO)
    caller.join()


def test_each_call_is_waited_for_once() -> None:
    handler = RecordingHandler()
    for version in 1, 2:
        handler.update_environment(params(ONE, version))
    assert [handler.wait_for("update_environment") for _ in range(2)] == [params(ONE, 1), params(ONE, 2)]
    with pytest.raises(TimeoutError, match="no update_environment within 0"):
        handler.wait_for("update_environment", timeout=0)


def test_calls_that_do_not_match_stay_for_later() -> None:
    handler = RecordingHandler()
    for id in ONE, TWO:
        handler.add_environment(params(id))
    handler.received_all_environments()
    assert handler.wait_for("add_environment", matching=lambda found: found.env_id == TWO) == params(TWO)
    handler.wait_for("received_all_environments")
    assert handler.wait_for("add_environment") == params(ONE)


def test_forgets_the_calls_but_not_what_they_brought() -> None:
    handler = RecordingHandler()
    handler.add_environment(params(ONE))
    handler.received_all_environments()
    handler.clear()
    assert handler.calls == []
    assert list(handler.environments) == [ONE]
    with pytest.raises(TimeoutError, match="no received_all_environments within 0 s; no call so far"):
        handler.wait_for("received_all_environments", timeout=0)


def test_a_name_that_no_method_has_is_an_error_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"no method 'add_enviroment'; its methods are add_environment, .*delete_filter"
    ):
        RecordingHandler().wait_for("add_enviroment")  # type: ignore[call-overload]


def test_the_error_lists_the_calls_without_secrets() -> None:
    handler = RecordingHandler()
    secrets = [
        f"{kind}-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c0{n}" for n, kind in enumerate(["sdk", "mob", "sdk", "sdk"], 1000)
    ]
    expiry = datetime(2030, 1, 1, tzinfo=timezone.utc)
    handler.add_environment(
        replace(
            params(ONE),
            sdk_key=SDKKey(secrets[0]),
            mobile_key=MobileKey(secrets[1]),
            expiring_sdk_key=ExpiringSDKKey(SDKKey(secrets[2]), expiry),
            _sdk_keys=(AcceptedKey(secrets[3]),),
            extra={"future": secrets[3]},
        )
    )
    handler.received_all_environments()
    handler.delete_environment(ONE)
    with pytest.raises(TimeoutError) as caught:
        handler.wait_for("update_environment", 0.01, matching=lambda found: found.secure_mode)
    first, *rest = str(caught.value).splitlines()
    assert first == "no matching update_environment within 0.01 s; calls so far (each is waited for once):"
    assert rest[0].startswith("  add_environment(EnvironmentParams(env_id='env-1'")
    assert "sdk_key='sdk-…1000'" in rest[0]
    assert rest[1:] == ["  received_all_environments()", "  delete_environment('env-1')"]
    assert not [secret for secret in secrets if secret in f"{caught.value} {handler!r} {handler.calls!r}"]


def test_the_error_lists_the_latest_of_many_calls() -> None:
    handler = RecordingHandler()
    for number in range(1000):
        handler.delete_environment(EnvironmentID(f"env-{number}"))
    with pytest.raises(TimeoutError) as caught:
        handler.wait_for("add_filter", timeout=0)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  … 980 before these"
    assert lines[-1] == "  delete_environment('env-999')"
    assert len(lines) == 22


def test_the_repr_has_numbers_only() -> None:
    handler = RecordingHandler()
    handler.add_environment(params(ONE))
    assert repr(handler) == "<RecordingHandler: 1 calls, 1 environments, 0 filters>"


class Failing(MessageHandler):
    """Takes an environment at the second attempt only."""

    def __init__(self) -> None:
        self.attempts = 0

    def add_environment(self, params: EnvironmentParams) -> None:
        self.attempts += 1
        if self.attempts == 1:
            raise ValueError("not now")


def test_hands_the_calls_on_and_records_those_that_succeed() -> None:
    inner = Failing()
    handler = RecordingHandler(inner)
    with pytest.raises(ValueError, match="not now"):
        handler.add_environment(params(ONE))
    assert (handler.calls, handler.environments) == ([], {})
    handler.add_environment(params(ONE))
    assert handler.wait_for("add_environment", timeout=0) == params(ONE)
    assert inner.attempts == 2


def test_hands_every_call_on() -> None:
    inner = RecordingHandler()
    handler = RecordingHandler(inner)
    handler.add_environment(params(ONE))
    handler.update_environment(params(ONE, 2))
    handler.received_all_environments()
    handler.delete_environment(ONE)
    handler.add_filter(MOBILE)
    handler.delete_filter(MOBILE.id)
    assert len(inner.calls) == 6
    assert inner.calls == handler.calls


def test_hands_the_calls_on_to_a_handler_that_is_false() -> None:
    """One that is a collection, say, and still empty."""

    class Falsy(RecordingHandler):
        def __len__(self) -> int:
            return len(self.calls)

    inner = Falsy()
    RecordingHandler(inner).received_all_environments()
    assert len(inner) == 1


def test_what_is_no_handler_is_an_error_at_once() -> None:
    with pytest.raises(TypeError, match="it lacks add_environment"):
        RecordingHandler(object())  # type: ignore[arg-type]


def test_a_call_that_fails_on_a_stream_is_recorded_when_it_has_succeeded() -> None:
    inner = Failing()
    handler = RecordingHandler(inner)
    with Emulator([environment(ONE)]) as emulator, following(emulator, handler):
        handler.wait_for("received_all_environments")
        emulator.set_environment(environment(ONE, 2))
        assert handler.wait_for("add_environment") == params(ONE, 2)
    assert inner.attempts == 2


def test_may_be_called_and_asked_from_many_threads() -> None:
    handler = RecordingHandler()
    found: list[str] = []

    def call(number: int) -> None:
        for count in range(100):
            handler.add_environment(params(f"{number}-{count}"))

    def ask() -> None:
        found.extend(handler.wait_for("add_environment").env_id for _ in range(100))

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    threads += [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(set(found)) == 400
    assert all(re.fullmatch(r"\d-\d+", id) for id in found)
    assert len(handler.calls) == len(handler.environments) == 400
