"""Secrets are shown in one way only: enough to tell keys apart, too little to use them."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoconfig import AutoConfigKey, EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey
from autoconfig.identifiers import mask, mask_keys, mask_repr, show

UUID = "4b0c7e52-91af-4d3e-8c26-a7d1f05b9e38"
OWN_PREFIXES = ["api-", "mob-", "rel-", "sdk-"]
SHORTEST = 16  # characters after the prefix from which on the last four are shown


@pytest.mark.parametrize("prefix", OWN_PREFIXES)
def test_a_key_of_launchdarkly_keeps_its_prefix_and_its_end(prefix: str) -> None:
    """Someone who has the key at hand can tell which one is meant."""
    assert mask(prefix + UUID) == f"{prefix}…9e38"


@pytest.mark.parametrize("secret", [UUID, f"xyz-{UUID}", f"SDK-{UUID}", f"-sdk-{UUID}", f"sdk{UUID}"])
def test_a_key_of_another_form_keeps_its_end_only(secret: str) -> None:
    """What is not one of the known prefixes is a part of the secret."""
    assert mask(secret) == "…9e38"


@pytest.mark.parametrize("prefix", ["", *OWN_PREFIXES])
def test_the_end_is_shown_of_long_secrets_only(prefix: str) -> None:
    """The prefix does not count as length."""
    assert mask(prefix + "x" * (SHORTEST - 5) + "-tail") == f"{prefix}…tail"
    assert mask(prefix + "x" * (SHORTEST - 6) + "-tail") == f"{prefix}…"


@pytest.mark.parametrize(("secret", "shown"), [("a", "…"), ("key", "…"), ("sdk-", "sdk-…"), ("sdk-1", "sdk-…")])
def test_a_short_secret_shows_nothing(secret: str, shown: str) -> None:
    """Four characters would be all of it."""
    assert mask(secret) == shown


def test_an_absent_secret_is_seen_to_be_absent() -> None:
    """An empty key is a fact worth seeing, and no secret."""
    assert mask("") == ""


@given(st.sampled_from(["", *OWN_PREFIXES]), st.text(string.ascii_letters + string.digits + "-", min_size=1))
def test_never_more_than_four_characters_are_shown(prefix: str, secret: str) -> None:
    """At least twelve characters of every secret stay hidden, or all of them."""
    shown = mask(prefix + secret)
    start, _, end = shown.partition("…")
    assert start == prefix or (not prefix and start in OWN_PREFIXES and secret.startswith(start))
    assert end in ("", secret[-4:])
    assert len(prefix + secret) - len(start) - len(end) >= (12 if end else 0)


@pytest.mark.parametrize("secret", ["", "it's", f"sdk-{UUID}", "x" * 20 + "\n\"'\x1b"])
def test_in_a_repr_it_is_a_quoted_string(secret: str) -> None:
    """Quotes and control characters of a broken key cannot disturb the line that they stand in."""
    assert mask_repr(secret) == repr(mask(secret))


@pytest.mark.parametrize("around", ["<{}>", "'{}', ", "key={}&", "sdk-x {}.", "%3D{}%20", "\\n{}", "{}"])
@pytest.mark.parametrize("prefix", OWN_PREFIXES)
def test_keys_in_a_text_are_masked_and_nothing_else(prefix: str, around: str) -> None:
    assert mask_keys(around.format(prefix + UUID)) == around.format(f"{prefix}…9e38")


@pytest.mark.parametrize("text", ["", "no/sdk-rec.sse", "api-prod", "webapi-production.example.com", "sdk-1234567"])
def test_words_that_are_no_keys_are_left_alone(text: str) -> None:
    assert mask_keys(text) == text


@pytest.mark.parametrize("before", range(60, 101))
@pytest.mark.parametrize("prefix", OWN_PREFIXES)
def test_a_key_is_masked_wherever_a_long_text_is_cut(prefix: str, before: int) -> None:
    """Not even its beginning may be left over."""
    shown = show("." * before + prefix + UUID + "." * 100)
    assert UUID[:4] not in shown
    assert shown.startswith("'" + "." * before)


@pytest.mark.parametrize("name", [AutoConfigKey, EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey])
def test_the_names_are_plain_strings_at_run_time(name: type[str]) -> None:
    """Handlers compare, hash and store ids and keys as they would any text."""
    text = "".join(["en", "v-1"])
    assert name(text) is text
