"""``examples/config_file_sidecar.py``."""

from __future__ import annotations

import json
import os
import signal
import stat
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from examples.conftest import NEW_KEY, PRODUCTION, SECRETS, STAGING, Start, load
from examples.running import Example, wait_until
from msgspec.structs import replace

from autoconfig import AutoConfigKey, EnvironmentID, KeyRejectedError, SDKKey, StreamManager, StreamState
from autoconfig.messages import SDKKeyRep
from autoconfig.testing import Emulator


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The file to write, in a directory of its own."""
    folder = tmp_path / "written"
    folder.mkdir()
    return folder / "environments"


@pytest.fixture
def run(start: Start, target: Path) -> Callable[..., Example]:
    def run(*options: str, **variables: str) -> Example:
        return start("config_file_sidecar.py", "config_file_sidecar.py", *options, str(target), **variables)

    return run


def read(target: Path) -> Any:
    return json.loads(target.read_text("utf-8"))


def test_writes_the_environments_without_their_keys(run: Callable[..., Example], target: Path) -> None:
    run().line("wrote 2 environments")
    assert read(target) == [
        {"id": PRODUCTION.env_id, "project": "shop", "environment": "production", "ttl": 300.0, "secureMode": False},
        {"id": STAGING.env_id, "project": "shop", "environment": "staging", "ttl": 0.0, "secureMode": False},
    ]


def test_writes_the_keys_if_it_is_told_to(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    sidecar = run("--reveal")
    sidecar.line("wrote 2 environments")
    old = PRODUCTION.sdk_key.value
    assert read(target)[0]["sdkKeys"] == [{"value": old, "expires": None}]
    assert read(target)[0]["mobileKey"] == PRODUCTION.mob_key
    service.rotate_sdk_key(PRODUCTION.env_id, NEW_KEY)
    sidecar.line("wrote 2 environments")
    current, previous = read(target)[0]["sdkKeys"]
    assert current == {"value": NEW_KEY, "expires": None}
    assert previous["value"] == old
    assert previous["expires"].endswith("+00:00")


def test_only_its_owner_can_open_the_file(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    """Also where a file of another mode was before."""
    target.write_text("old")
    target.chmod(0o644)
    sidecar = run("--reveal")
    sidecar.line("wrote")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    service.delete_environment(STAGING.env_id)
    sidecar.line("wrote 1 environments")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_reader_never_sees_a_part(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    """The old file goes on as it was for those that have it open."""
    sidecar = run()
    sidecar.line("wrote 2 environments")
    with target.open() as old:
        service.replace([PRODUCTION])
        sidecar.line("wrote 1 environments")
        assert len(json.load(old)) == 2
    assert len(read(target)) == 1
    assert os.listdir(target.parent) == [target.name]


def test_a_whole_configuration_is_written_once(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    many = [replace(STAGING, env_id=EnvironmentID(f"env-{number}")) for number in range(500)]
    service.replace(many)
    sidecar = run()
    sidecar.line("wrote 500 environments")
    service.replace([*many[1:], PRODUCTION])
    sidecar.line("wrote 500 environments")
    assert PRODUCTION.env_id in target.read_text("utf-8")
    assert sidecar.output.count("wrote") == 2


def test_a_reconnection_that_brings_nothing_new_writes_nothing(
    run: Callable[..., Example], service: Emulator, target: Path
) -> None:
    sidecar = run()
    sidecar.line("wrote 2 environments")
    before = target.stat().st_ino
    service.drop_connections()
    service.wait_for_requests(2)
    service.wait_for_connections(1)
    service.send_put()
    service.set_environment(replace(STAGING, secure_mode=True))
    sidecar.line("wrote 2 environments")
    assert target.stat().st_ino != before
    assert sidecar.output.count("wrote") == 2


def test_ends_in_good_order(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    sidecar = run("--reveal")
    sidecar.line("wrote 2 environments")
    sidecar.terminate()
    assert sidecar.ended() == 0
    service.wait_for_connections(0)
    assert len(read(target)) == 2
    assert "Traceback" not in sidecar.output


def test_ends_in_good_order_before_anything_has_come(
    run: Callable[..., Example], service: Emulator, target: Path
) -> None:
    service.stall()
    for number, end in enumerate((Example.terminate, Example.interrupt), 1):
        sidecar = run()
        service.wait_for_requests(number)
        end(sidecar)
        assert sidecar.ended() == 0
        assert "Traceback" not in sidecar.output
    assert not target.exists()


def test_says_so_if_the_key_is_refused(run: Callable[..., Example], target: Path) -> None:
    sidecar = run(AUTO_CONFIG_KEY="rel-another")
    assert sidecar.ended() == 1
    assert sidecar.output.splitlines()[-1].startswith("the service rejected the auto-configuration key")
    assert not target.exists()


def test_says_so_if_the_key_is_refused_later(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    sidecar = run()
    sidecar.line("wrote 2 environments")
    service.key = AutoConfigKey("rel-another")
    service.drop_connections()
    assert sidecar.ended() == 1
    assert sidecar.output.splitlines()[-1].startswith("the service rejected the auto-configuration key")


def test_is_told_of_a_key_that_is_refused_before_start_returns(
    service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread may be as quick as that, so the listener has to be there before."""
    sidecar = load("config_file_sidecar.py")
    start = StreamManager.start

    def start_and_wait(manager: StreamManager) -> Future[None]:
        ready = start(manager)
        assert manager.wait_for(StreamState.OFF, 10)
        return ready

    monkeypatch.setattr(StreamManager, "start", start_and_wait)
    failed: list[BaseException] = []

    def follow() -> None:
        try:
            sidecar.follow("rel-another", service.uri, lambda environments: None)
        except KeyRejectedError as error:
            failed.append(error)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert failed


def test_refuses_a_path_that_it_cannot_write(run: Callable[..., Example], target: Path) -> None:
    target.mkdir()
    sidecar = run()
    assert sidecar.ended() == 2
    assert f"{target} is a directory" in sidecar.output
    target.rmdir()
    target.parent.rmdir()
    sidecar = run()
    assert sidecar.ended() == 2
    assert f"there is no directory {target.parent}" in sidecar.output


def test_tries_again_when_it_cannot_write(run: Callable[..., Example], service: Emulator, target: Path) -> None:
    sidecar = run()
    sidecar.line("wrote 2 environments")
    target.unlink()
    target.mkdir()
    service.delete_environment(STAGING.env_id)
    sidecar.line("cannot write")
    assert os.listdir(target.parent) == [target.name]
    target.rmdir()
    sidecar.line("wrote 1 environments")
    assert len(read(target)) == 1
    assert "Traceback" not in sidecar.output


def test_says_so_if_there_is_no_key(run: Callable[..., Example]) -> None:
    sidecar = run(AUTO_CONFIG_KEY="")
    assert sidecar.ended() == 2
    assert "AUTO_CONFIG_KEY is not set" in sidecar.output
    assert "Traceback" not in sidecar.output


def variables(target: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in target.read_text("utf-8").splitlines())


def test_writes_variables_of_the_relay(run: Callable[..., Example], target: Path) -> None:
    run("--format", "env", "--reveal").line("wrote 2 environments")
    assert variables(target) == {
        "LD_CLIENT_SIDE_ID_SHOP_PRODUCTION": PRODUCTION.env_id,
        "LD_ENV_SHOP_PRODUCTION": PRODUCTION.sdk_key.value,
        "LD_MOBILE_KEY_SHOP_PRODUCTION": PRODUCTION.mob_key,
        "LD_CLIENT_SIDE_ID_SHOP_STAGING": STAGING.env_id,
        "LD_ENV_SHOP_STAGING": STAGING.sdk_key.value,
        "LD_MOBILE_KEY_SHOP_STAGING": STAGING.mob_key,
    }


def test_variables_without_keys(run: Callable[..., Example], target: Path) -> None:
    run("--format", "env").line("wrote 2 environments")
    assert list(variables(target).values()) == [PRODUCTION.env_id, STAGING.env_id]
    assert not [secret for secret in SECRETS if secret in target.read_text("utf-8")]


def test_nothing_gets_into_the_variables_that_is_not_one_value(
    run: Callable[..., Example], service: Emulator, target: Path
) -> None:
    """A key with a line break could bring in a variable of its own; a second name like the first, other keys."""
    line_break = replace(
        STAGING, env_id=EnvironmentID("1"), env_key="evil", sdk_key=SDKKeyRep(SDKKey("sdk-1\nLD_PRELOAD=evil.so"))
    )
    same_name = replace(STAGING, env_id=EnvironmentID("6b"), env_key="stag_ing", proj_key="a")
    other = replace(same_name, env_id=EnvironmentID("6c"), env_key="ing", proj_key="a-stag")
    service.replace([line_break, same_name, other])
    sidecar = run("--format", "env", "--reveal")
    sidecar.line("left out 'SHOP_EVIL'")
    sidecar.line("left out 'A_STAG_ING'")
    wait_until(target.exists, "the file")
    assert set(variables(target)) == {"LD_CLIENT_SIDE_ID_A_STAG_ING", "LD_ENV_A_STAG_ING", "LD_MOBILE_KEY_A_STAG_ING"}
    assert variables(target)["LD_CLIENT_SIDE_ID_A_STAG_ING"] == "6b"


def test_ends_if_it_is_told_to_while_it_waits_for_more(
    run: Callable[..., Example], service: Emulator, target: Path
) -> None:
    sidecar = run()
    sidecar.line("wrote 2 environments")
    service.delete_environment(STAGING.env_id)
    sidecar.process.send_signal(signal.SIGTERM)
    assert sidecar.ended() == 0
    assert os.listdir(target.parent) == [target.name]
