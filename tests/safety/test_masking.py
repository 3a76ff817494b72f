"""What a repr shows of a secret is its prefix and its last four characters, whatever the secret is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any
from urllib.parse import quote

import attrs
import pytest
import requests
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.recorder import Recorder

import autoconfig
from autoconfig import (
    AutoConfigKey,
    EnvIdentifiers,
    EnvironmentID,
    EnvironmentParams,
    ExpiringSDKKey,
    HTTPConfig,
    MobileKey,
    SDKKey,
    StreamManager,
    environments,
    messages,
)
from autoconfig.environments import KeyRep, ViewKey
from autoconfig.frozen import Record
from autoconfig.identifiers import mask
from autoconfig.messages import CachedContent, EnvironmentRep, ExpiringKeyRep, PatchMessageData, PutContent, SDKKeyRep

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)
SHOWN = 4  # characters at the end
SHORT = 16  # a secret part with less than this shows none of them
PREFIXES = ["", "api-", "mob-", "rel-", "sdk-"]


def params(secret: str) -> EnvironmentParams:
    expiring = ExpiringSDKKey(SDKKey(secret), NOW)
    names = EnvIdentifiers("key", "name", "project", "Project")
    keys = SDKKey(secret), MobileKey(secret)
    return EnvironmentParams(EnvironmentID("id"), names, *keys, expiring, timedelta(0), False)


def rep(secret: str) -> EnvironmentRep:
    return EnvironmentRep(
        env_id=EnvironmentID("id"),
        mob_key=MobileKey(secret),
        sdk_key=SDKKeyRep(SDKKey(secret), ExpiringKeyRep(SDKKey(secret), 1)),
        sdk_keys=(KeyRep("name", secret),),
        mobile_keys=(KeyRep("name", secret, 1), KeyRep("another", secret)),
        extra={"apiKey": secret, "more": {"keys": [secret]}},
    )


def put(secret: str) -> PutContent:
    return PutContent({"id": rep(secret)}, {})


BUILDERS: dict[str, Callable[[str], Any]] = {
    "AcceptedKey": lambda secret: rep(secret).to_params().accepted_mobile_keys,
    "CachedContent": lambda secret: CachedContent(put(secret)),
    "EnvironmentParams": params,
    "EnvironmentParams.with_filter": lambda secret: params(secret).with_filter(autoconfig.FilterKey("f")),
    "EnvironmentRep.to_params": lambda secret: rep(secret).to_params(),
    "EnvironmentRep": rep,
    "ExpiredKey": lambda secret: autoconfig.ExpiredKey(
        params(secret).env_id, params(secret).identifiers, params(secret).accepted_sdk_keys[0], "sdk"
    ),
    "ExpiringKeyRep": lambda secret: ExpiringKeyRep(SDKKey(secret), 1),
    "ExpiringSDKKey": lambda secret: ExpiringSDKKey(SDKKey(secret), NOW),
    "HTTPConfig": lambda secret: HTTPConfig(
        proxy_url=f"http://{quote(secret, '')}:{quote(secret, '')}@proxy.example:3128", headers={"X-Api-Key": secret}
    ),
    "KeyRep": lambda secret: rep(secret).mobile_keys,
    "PatchMessageData": lambda secret: PatchMessageData("id", rep(secret)),
    "PutContent": put,
    "RegistryChange": lambda secret: autoconfig.RegistryChange(autoconfig.Action.INSERT, None, params(secret)),
    "SDKKeyRep": lambda secret: SDKKeyRep(SDKKey(secret)),
    "StreamManager": lambda secret: StreamManager(
        AutoConfigKey(secret), f"https://{quote(secret, '')}:{quote(secret, '')}@stream.example/?q=1", Recorder()
    ),
    "ViewKey": lambda secret: ViewKey(secret),
}
SECRETLESS = {
    "DeleteMessageData",
    "EnvIdentifiers",
    "ErrorInfo",
    "FilterParams",
    "FilterRep",
    "HandlerErrors",
    "HandlerFailure",  # but for the error, which is the application's own
    "RefusedEnvironment",
    "RepeatedPut",
    "RetryPolicy",
    "StreamStatus",
}

characters = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
bodies = st.text(characters, min_size=SHORT - SHOWN, max_size=60)
tails = st.text(characters, min_size=SHOWN, max_size=SHOWN)
short = st.text(characters, min_size=1, max_size=SHORT - 1)
prefixes = st.sampled_from(PREFIXES)


def has_prefix(text: str) -> bool:
    """Return whether a text that should have none begins with one of the prefixes."""
    return any(prefix and text.startswith(prefix) for prefix in PREFIXES)


def shown(build: Callable[[str], Any], secret: str) -> list[str]:
    """Return all the ways in which an object shows itself."""
    made = build(secret)
    return [repr(made), str(made), f"{made}", f"{made!a}", f"{[made]}", f"{made:}"]


def test_every_public_class_is_looked_at() -> None:
    rooms = [{name: getattr(autoconfig, name) for name in autoconfig.__all__}, vars(environments), vars(messages)]
    found = [one for room in rooms for name, one in room.items() if isinstance(one, type) and not name.startswith("_")]
    classes = {one.__name__ for one in found if attrs.has(one) or (issubclass(one, Record) and one is not Record)}
    assert classes == (SECRETLESS | {name.partition(".")[0] for name in BUILDERS}) - {"StreamManager"}


@given(prefix=prefixes, one=bodies, other=bodies, tail=tails)
def test_a_mask_depends_on_prefix_and_tail_only(prefix: str, one: str, other: str, tail: str) -> None:
    assume(prefix or not (has_prefix(one) or has_prefix(other)))
    assert mask(prefix + one + tail) == mask(prefix + other + tail) == f"{prefix}…{tail}"


@given(prefix=prefixes, secret=short)
def test_a_short_secret_shows_its_prefix_only(prefix: str, secret: str) -> None:
    assume(prefix or not has_prefix(secret))
    assert mask(prefix + secret) == f"{prefix}…"


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@settings(max_examples=40)
@given(prefix=prefixes, one=bodies, other=bodies, tail=tails)
def test_what_is_shown_depends_on_prefix_and_tail_only(
    build: Callable[[str], Any], prefix: str, one: str, other: str, tail: str
) -> None:
    """Two secrets that differ elsewhere look the same, so nothing else of a secret can be in what is shown."""
    assume(prefix or not (has_prefix(one) or has_prefix(other)))
    assert shown(build, prefix + one + tail) == shown(build, prefix + other + tail)


@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
@settings(max_examples=40)
@given(prefix=prefixes, one=short, other=short)
def test_nothing_is_shown_of_a_short_secret(build: Callable[[str], Any], prefix: str, one: str, other: str) -> None:
    assume(prefix or not (has_prefix(one) or has_prefix(other)))
    assert shown(build, prefix + one) == shown(build, prefix + other)


def test_a_session_factory_is_not_shown() -> None:
    """It often is a partial, whose repr has the arguments."""

    def sign_on(password: str) -> requests.Session:
        raise NotImplementedError(password)

    config = HTTPConfig(session_factory=partial(sign_on, "a-secret-of-the-caller"))
    assert "a-secret-of-the-caller" not in repr(config)
