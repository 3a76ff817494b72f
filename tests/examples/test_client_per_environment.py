"""``examples/client_per_environment.py``, with LaunchDarkly's own SDK and flags from this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from examples.conftest import NEW_KEY, PRODUCTION, STAGING, Start, need
from support.running import DEADLINE, Running

from autoconfig.testing import Emulator
from autoconfig.testing.flags import FlagService

pytestmark = need("ldclient")
OLD_KEY, OTHER_KEY = PRODUCTION.sdk_key.value, STAGING.sdk_key.value


@pytest.fixture
def flags() -> Iterator[FlagService]:
    with FlagService() as service:
        yield service


@pytest.fixture
def run(start: Start, flags: FlagService) -> Callable[[], Running]:
    return lambda: start("client_per_environment.py", SDK_URI=flags.uri)


def test_each_environment_has_a_client_with_its_current_key(
    run: Callable[[], Running], flags: FlagService, service: Emulator
) -> None:
    run()
    flags.wait_for_streams(OLD_KEY, OTHER_KEY, timeout=DEADLINE)
    service.rotate_sdk_key(PRODUCTION.env_id, NEW_KEY)
    flags.wait_for_streams(OLD_KEY, NEW_KEY, OTHER_KEY)  # the old client lingers


def test_says_so_if_the_key_is_refused_or_missing(start: Start, flags: FlagService) -> None:
    refused = start("client_per_environment.py", SDK_URI=flags.uri, AUTO_CONFIG_KEY="rel-another")
    missing = start("client_per_environment.py", AUTO_CONFIG_KEY="")
    assert missing.ended() == 1
    assert missing.output == "AUTO_CONFIG_KEY is not set\n"
    assert refused.ended() == 1
    assert refused.output.splitlines()[-1].startswith("the service rejected the auto-configuration key")
    assert "Traceback" not in refused.output


@pytest.mark.parametrize("end", [Running.terminate, Running.interrupt], ids=["SIGTERM", "Ctrl-C"])
def test_all_is_closed_at_the_end(
    end: Callable[[Running], None], run: Callable[[], Running], flags: FlagService, service: Emulator
) -> None:
    program = run()
    flags.wait_for_streams(OLD_KEY, OTHER_KEY, timeout=DEADLINE)
    end(program)
    assert program.ended() == 0
    flags.wait_for_streams()
    service.wait_for_connections(0)
    assert "Traceback" not in program.output
