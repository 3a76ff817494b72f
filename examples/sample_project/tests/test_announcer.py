"""
Two kinds of tests: those that call the handler as a stream would, and those with a real
stream.

The second kind needs no account and no network: ``autoconfig_emulator``, a fixture of
ld-autoconfig, is the service.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from announcer import Announcer
from msgspec.structs import replace

from autoconfig import (
    EnvironmentID,
    HandlerErrors,
    RetryPolicy,
    SDKKey,
    StreamManager,
    StreamState,
)
from autoconfig.testing import (
    Emulator,
    EnvironmentRep,
    ExpiringKeyRep,
    RecordingHandler,
    SDKKeyRep,
)

OLD_KEY, NEW_KEY = SDKKey("sdk-old"), SDKKey("sdk-new")
STAGING = EnvironmentRep(
    EnvironmentID("env-1"),
    env_name="Staging",
    proj_name="Shop",
    sdk_key=SDKKeyRep(OLD_KEY),
    version=1,
)
QA = replace(STAGING, env_name="QA", version=2)


@pytest.fixture
def announced() -> list[str]:
    return []


@pytest.fixture
def announcer(announced: list[str]) -> Announcer:
    return Announcer(announced.append)


# The handler by itself. ``to_params()`` turns an environment as the service sends it
# into the object that a handler gets.


def test_the_first_environments_are_not_announced(
    announcer: Announcer, announced: list[str]
) -> None:
    announcer.add_environment(STAGING.to_params())
    announcer.received_all_environments()
    assert announced == []


def test_a_new_key_is_announced_with_the_time_that_the_old_one_has(
    announcer: Announcer, announced: list[str]
) -> None:
    noon = ExpiringKeyRep(OLD_KEY, 1_893_499_200_000)
    announcer.add_environment(STAGING.to_params())
    announcer.update_environment(
        replace(STAGING, sdk_key=SDKKeyRep(NEW_KEY, noon)).to_params()
    )
    announcer.update_environment(
        replace(STAGING, sdk_key=SDKKeyRep(OLD_KEY)).to_params()
    )
    new = "Shop / Staging has a new SDK key; the old one "
    assert announced == [
        f"{new}is good until 2030-01-01 12:00 UTC.",
        f"{new}is not good any more.",
    ]


def test_an_environment_whose_announcement_failed_may_be_deleted(
    announcer: Announcer, announced: list[str]
) -> None:
    announcer.received_all_environments()
    announcer.delete_environment(STAGING.env_id)
    assert announced == []


# With a stream


@pytest.fixture
def autoconfig_emulator_options() -> dict[str, Any]:
    """Options of the emulator for all tests of this module."""
    return {"environments": [STAGING]}


@pytest.fixture
def calls(announcer: Announcer) -> RecordingHandler:
    """Passes calls on to the announcer, and lets a test wait until one has returned."""
    return RecordingHandler(announcer)


@pytest.fixture
def manager(
    autoconfig_emulator: Emulator, calls: RecordingHandler
) -> Iterator[StreamManager]:
    """A manager that follows the emulator, and retries at once."""
    quick = RetryPolicy(max_delay=0.01)
    with StreamManager(
        autoconfig_emulator.key,
        autoconfig_emulator.uri,
        calls,
        retry_policy=quick,
        handler_errors=HandlerErrors(retry=quick),
    ) as manager:
        calls.wait_for("received_all_environments")
        yield manager


@pytest.mark.usefixtures("manager")
def test_changes_are_announced(
    autoconfig_emulator: Emulator, calls: RecordingHandler, announced: list[str]
) -> None:
    autoconfig_emulator.set_environment(QA)
    calls.wait_for("update_environment")
    autoconfig_emulator.rotate_sdk_key(QA.env_id, NEW_KEY, grace=timedelta(hours=1))
    calls.wait_for("update_environment")
    autoconfig_emulator.delete_environment(QA.env_id)
    calls.wait_for("delete_environment")
    autoconfig_emulator.set_environment(QA)
    calls.wait_for(
        "add_environment", matching=lambda params: params.identifiers.env_name == "QA"
    )
    assert announced[0] == "Shop / Staging is Shop / QA now."
    assert announced[1].startswith(
        "Shop / QA has a new SDK key; the old one is good until "
    )
    assert announced[2:] == ["Shop / QA was deleted.", "Shop / QA is new."]


def test_what_changes_in_an_outage_is_announced_after_it(
    manager: StreamManager,
    autoconfig_emulator: Emulator,
    calls: RecordingHandler,
    announced: list[str],
) -> None:
    autoconfig_emulator.close()
    assert manager.wait_for(StreamState.INTERRUPTED, timeout=5)
    autoconfig_emulator.set_environment(QA)
    autoconfig_emulator.start()
    calls.wait_for("update_environment")
    assert announced == ["Shop / Staging is Shop / QA now."]


@pytest.mark.usefixtures("manager")
def test_an_announcement_that_fails_is_retried(
    autoconfig_emulator: Emulator,
    calls: RecordingHandler,
    announcer: Announcer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempts: list[str] = []

    def announce(sentence: str) -> None:
        attempts.append(sentence)
        if len(attempts) < 3:
            raise ConnectionError("the chat is down")

    monkeypatch.setattr(announcer, "_announce", announce)
    autoconfig_emulator.set_environment(QA)
    calls.wait_for("update_environment")  # a call is recorded when it has succeeded
    assert attempts == ["Shop / Staging is Shop / QA now."] * 3


@pytest.mark.autoconfig_emulator(key="rel-another")
def test_a_refused_key_brings_nothing(
    autoconfig_emulator: Emulator,
    recording_handler: RecordingHandler,
    announced: list[str],
) -> None:
    with StreamManager(
        "rel-wrong", autoconfig_emulator.uri, recording_handler
    ) as manager:
        assert manager.wait_for(StreamState.OFF, timeout=5)
    assert recording_handler.calls == []
