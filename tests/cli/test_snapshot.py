"""``autoconfig snapshot``: one configuration in each form, and each way in which it does not come."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from autoconfig.cli import main, story
from autoconfig.cli.relay_env import relay_variables
from autoconfig.environments import EnvironmentRep, FilterRep
from autoconfig.identifiers import FilterKey
from autoconfig.testing import Emulator

Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., None]
Capture = pytest.CaptureFixture[str]


def test_prints_one_sorted_json_document(run: Run, service: Emulator, no_secrets: Check) -> None:
    service.set_filter("a-filter", FilterRep("docs", FilterKey("web")))
    service.rotate_sdk_key(story.PRODUCTION.env_id, story.NEW_SDK_KEY, timedelta(hours=1))
    code, out, err = run("snapshot", "--json", STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key)
    assert (code, err) == (0, "")
    assert out.count("\n") == 1
    document = json.loads(out)
    assert list(document) == ["environments", "filters"]
    names = [(one["projKey"], one["envKey"]) for one in document["environments"]]
    assert names == [("docs", "production"), ("shop", "production"), ("shop", "staging")]
    assert document["environments"][1]["expiringSdkKey"]["value"] == "sdk-…0ae7"
    assert document["environments"][2] == {
        "envID": story.STAGING.env_id, "envKey": "staging", "envName": "Staging", "projKey": "shop", "projName": "Shop",
        "mobKey": "mob-…5c27", "sdkKey": "sdk-…d479", "expiringSdkKey": None, "ttl": 0, "secureMode": False,
    }  # fmt: skip
    assert document["filters"] == [
        {"id": "a-filter", "key": "web", "projKey": "docs"},
        {"id": story.EUROPE, "key": "europe", "projKey": "shop"},
    ]
    no_secrets(out)


def test_reveals_keys_when_asked(reached: Emulator, capsys: Capture) -> None:
    assert main(["snapshot", "--json", "--reveal"]) == 0
    keys = {one["sdkKey"] for one in json.loads(capsys.readouterr().out)["environments"]}
    assert story.PRODUCTION.sdk_key.value in keys


def test_prints_an_aligned_table(reached: Emulator, capsys: Capture, no_secrets: Check) -> None:
    reached.set_environment(attrs.evolve(story.STAGING, env_name="A\x1b[2J", secure_mode=True, default_ttl=90))
    reached.rotate_sdk_key(story.PRODUCTION.env_id, story.NEW_SDK_KEY, timedelta(days=400))
    assert main(["snapshot"]) == 0
    out, err = capsys.readouterr()
    head, docs, first, second, *rest = out.splitlines()
    columns = [head.index(name) for name in ("Project", "Environment", "ID", "SDK key", "Mobile key", "TTL", "Secure")]
    assert [docs[column - 1 : column].strip() for column in columns] == [""] * 7
    assert [first.split()[:2], second.split()[:2]] == [["Shop", r"A\x1b[2J"], ["Shop", "Production"]]
    assert first.split()[5:] == ["1", "h", "30", "min", "yes", "-"]
    assert "sdk-…0ae7 until 20" in second
    assert rest == ["Filters: europe (shop)", "3 environments, 1 filter"]
    no_secrets(out, err)


def test_an_empty_profile_is_a_configuration(capsys: Capture) -> None:
    with Emulator() as service:
        assert main(["snapshot", "--uri", service.uri, "--key", service.key]) == 0
        assert capsys.readouterr().out == "0 environments, 0 filters\n"
        assert main(["snapshot", "--json", "--uri", service.uri, "--key", service.key]) == 0
        assert json.loads(capsys.readouterr().out) == {"environments": [], "filters": []}


def test_a_rejected_key_is_code_3(reached: Emulator, capsys: Capture) -> None:
    assert main(["snapshot", "--json", "--key", "rel-0123456789abcdef0123456789abcdef"]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "rejected" in err
    assert "0123456789" not in err


def test_no_configuration_in_time_is_code_4(reached: Emulator, capsys: Capture) -> None:
    reached.stall()
    began = time.monotonic()
    assert main(["snapshot", "--timeout", "0.3"]) == 4
    assert time.monotonic() - began < 2
    assert capsys.readouterr() == ("", "autoconfig snapshot: no full configuration within 0.3 s\n")


def test_a_failure_on_the_way_is_tried_again(reached: Emulator, capsys: Capture) -> None:
    reached.fail_next(503)
    assert main(["snapshot"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("3 environments, 1 filter\n")
    assert "unexpected HTTP status 503" in err


def test_variables_for_a_relay(reached: Emulator, capsys: Capture, no_secrets: Check) -> None:
    reached.set_environment(attrs.evolve(story.STAGING, secure_mode=True, default_ttl=5))
    assert main(["snapshot", "--format", "relay-env", "--reveal"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.splitlines()[-5:] == [
        f"LD_ENV_shop_staging={story.STAGING.sdk_key.value}",
        f"LD_MOBILE_KEY_shop_staging={story.STAGING.mob_key}",
        f"LD_CLIENT_SIDE_ID_shop_staging={story.STAGING.env_id}",
        "LD_SECURE_MODE_shop_staging=true",
        "LD_TTL_shop_staging=5m",
    ]
    assert main(["snapshot", "--format", "relay-env"]) == 0
    out, err = capsys.readouterr()
    assert "masked" in err
    no_secrets(out, err)


def test_names_of_variables_are_names_and_different() -> None:
    reps = [
        EnvironmentRep(env_id=id, env_key=key, proj_key="my-shop", mob_key="m\nLD_EVIL=1")
        for id, key in (("1", "a.b"), ("2", "a-b"), ("3", "c"))
    ]
    lines = list(relay_variables([rep.to_params() for rep in reps], str))
    assert [line.partition("=")[0] for line in lines] == [
        f"LD_{kind}_my_shop_{name}"
        for name in ("a_b_1", "a_b_2", "c")
        for kind in ("ENV", "MOBILE_KEY", "CLIENT_SIDE_ID")
    ]
    assert not any("\n" in line for line in lines)


def test_ends_on_sigterm_while_it_waits(start: Callable[..., Any], service: Emulator) -> None:
    service.stall()
    running = start("snapshot", "--uri", service.uri, "--key", service.key)
    service.wait_for_requests(1, timeout=10)
    running.process.terminate()
    assert running.ended(within=2) == 143
    assert (running.stdout, running.stderr) == ("", "")
