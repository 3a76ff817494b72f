"""``examples/client_per_environment.py``, with LaunchDarkly's own SDK and flags from this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import pytest
from examples.conftest import NEW_KEY, PRODUCTION, STAGING, Start, load, need
from examples.flag_service import FlagService
from examples.running import Example

from autoconfig.testing import Emulator

pytestmark = need("ldclient")
OLD_KEY, OTHER_KEY = PRODUCTION.sdk_key.value, STAGING.sdk_key.value


@pytest.fixture
def flags() -> Iterator[FlagService]:
    service = FlagService(unknown=[NEW_KEY])
    yield service
    service.close()


@pytest.fixture
def run(start: Start, flags: FlagService) -> Callable[[], Example]:
    return lambda: start("client_per_environment.py", SDK_URI=flags.uri, SDK_START_WAIT="0.5")


def test_each_environment_has_a_client(run: Callable[[], Example], flags: FlagService, service: Emulator) -> None:
    program = run()
    flags.wait_for_open(OLD_KEY, OTHER_KEY)
    program.line("built the client of Shop / Staging")
    service.delete_environment(STAGING.env_id)
    program.line(f"closed the client of {STAGING.env_id}")
    flags.wait_for_open(OLD_KEY)
    service.set_environment(STAGING)
    flags.wait_for_open(OLD_KEY, OTHER_KEY)


def test_a_rotation_has_the_new_client_before_it_closes_the_old_one(
    run: Callable[[], Example], flags: FlagService, service: Emulator
) -> None:
    """Even if the new key is not known everywhere yet, so that its client fails at first."""
    program = run()
    flags.wait_for_open(OLD_KEY, OTHER_KEY)
    service.rotate_sdk_key(PRODUCTION.env_id, NEW_KEY)
    program.line("NotInitializedError: no flags for Shop / Production")
    assert flags.open == {OLD_KEY: 1, OTHER_KEY: 1}
    program.line("replaced the client of Shop / Production")
    flags.wait_for_open(NEW_KEY, OTHER_KEY)
    happened = [entry for entry in flags.log if entry[1] != OTHER_KEY]
    assert happened == [("opened", OLD_KEY), ("refused", NEW_KEY), ("opened", NEW_KEY), ("closed", OLD_KEY)]


def test_a_client_that_cannot_be_built_at_first_is_built_later(
    run: Callable[[], Example], flags: FlagService, service: Emulator
) -> None:
    service.set_environment(attrs.evolve(PRODUCTION, sdk_key=attrs.evolve(PRODUCTION.sdk_key, value=NEW_KEY)))
    program = run()
    flags.wait_for("refused", NEW_KEY)
    program.line("built the client of Shop / Staging")  # the others need not wait for it
    program.line("built the client of Shop / Production")
    flags.wait_for_open(NEW_KEY, OTHER_KEY)


def test_a_change_that_no_client_has_to_know_leaves_them_alone(
    run: Callable[[], Example], flags: FlagService, service: Emulator
) -> None:
    program = run()
    flags.wait_for_open(OLD_KEY, OTHER_KEY)
    service.set_environment(attrs.evolve(PRODUCTION, env_name="Live", default_ttl=7))
    service.delete_environment(STAGING.env_id)
    program.line("closed the client")
    flags.wait_for_open(OLD_KEY)
    assert [what for what, key in flags.log if key == OLD_KEY] == ["opened"]


def test_says_so_if_the_key_is_refused_or_missing(start: Start, flags: FlagService) -> None:
    refused = start("client_per_environment.py", SDK_URI=flags.uri, AUTO_CONFIG_KEY="rel-another")
    assert refused.ended() == 1
    assert refused.output.splitlines()[-1].startswith("the service rejected the auto-configuration key")
    missing = start("client_per_environment.py", AUTO_CONFIG_KEY="")
    assert missing.ended() == 1
    assert missing.output == "AUTO_CONFIG_KEY is not set\n"
    assert "Traceback" not in refused.output


def test_all_are_closed_even_if_one_cannot_be(caplog: pytest.LogCaptureFixture) -> None:
    class Client:
        def __init__(self, error: Exception | None) -> None:
            self.error, self.closed = error, False

        def close(self) -> None:
            self.closed = True
            if self.error:
                raise self.error

    made = [Client(None), Client(OSError("no route")), Client(None)]
    clients = load("client_per_environment.py").Clients()
    clients._clients.update(enumerate(made))
    clients.close()
    assert all(client.closed for client in made)
    assert "could not close the client of 1" in caplog.text


@pytest.mark.parametrize("end", [Example.terminate, Example.interrupt], ids=["SIGTERM", "Ctrl-C"])
def test_all_is_closed_at_the_end(
    end: Callable[[Example], None], run: Callable[[], Example], flags: FlagService, service: Emulator
) -> None:
    program = run()
    flags.wait_for_open(OLD_KEY, OTHER_KEY)
    program.line("built the client of Shop / Staging")
    end(program)
    assert program.ended() == 0
    flags.wait_for_open()
    service.wait_for_connections(0)
    assert program.output.count("Closing LaunchDarkly client") == 2
    assert not [line for line in program.output.splitlines() if "Traceback" in line]
