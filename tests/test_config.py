"""The options: what they are by default, what they refuse, and what they keep to themselves."""

from __future__ import annotations

import logging
import math
import ssl
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests

from autoconfig import HTTPConfig, RetryPolicy

SECRET = "hunter2-4d3e8c26a7d1"
RESERVED = ["Accept", "Accept-Encoding", "Authorization", "Cache-Control", "Host", "Last-Event-ID"]
SECONDS = ["connect_timeout", "read_timeout"]
WRONG_TYPES: list[tuple[str, Any]] = [
    *[(name, value) for name in SECONDS for value in (None, "5", True)],
    ("proxy_url", 5),
    ("proxy_url", b"http://proxy"),
    ("ca_certs", 5),
    ("ca_certs", [5]),
    ("ca_certs", b"/tmp"),
    ("ca_certs", [b"/tmp"]),
    ("client_cert", 5),
    ("client_cert", (__file__, 5)),
    ("headers", None),
    ("headers", [("X-A", "a")]),
    ("headers", {"X-A": 5}),
    ("headers", {"X-A": b"a"}),
    ("user_agent", 5),
    ("user_agent", b"agent"),
    ("max_event_bytes", None),
    ("max_event_bytes", "5"),
    ("max_event_bytes", 1.5),
    ("max_event_bytes", True),
    ("session_factory", 5),
    ("session_factory", requests.codes),
    ("ssl_context", True),
    ("ssl_context", __file__),
    ("client_key_password", b"secret"),
    ("client_key_password", 5),
]
WRONG_VALUES: list[tuple[str, Any]] = [
    *[(name, value) for name in SECONDS for value in (0, -1, math.nan, math.inf, 1e12)],
    *[
        ("proxy_url", url)
        for url in (
            "",
            "proxy:3128",
            "socks4://proxy",
            "socks5://",
            "socks5h://:1080",
            "http://",
            "http://proxy:0",
            "http://pro xy",
        )
    ],
    *[("ca_certs", value) for value in ("", [], [""], "/no/such/file", [__file__, "/no/such/file"], "nul\x00")],
    *[("client_cert", value) for value in ("", (), "/no/such/file", (__file__, "/no/such/file"), (__file__,) * 3)],
    *[("headers", {name: "a"}) for name in ("", "X A", "X-A:", "X\n", "Ä", "X\x00", *RESERVED)],
    *[("headers", {name.upper(): "a"}) for name in RESERVED],
    *[("headers", {"X-A": value}) for value in ("", " a", "a ", "a\r\nX-B: b", "ä", "a\x00")],
    *[("user_agent", value) for value in ("", " a", "a\n", "ä")],
    *[("max_event_bytes", value) for value in (0, -1)],
    *[("client_key_password", value) for value in ("", "for no key")],
]
WRONG_POLICIES: list[tuple[str, Any, type[Exception]]] = [
    *[(name, value, TypeError) for name in ("max_delay", "jitter", "reset_after") for value in (None, "1", True)],
    *[(name, math.nan, ValueError) for name in ("max_delay", "jitter", "reset_after")],
    ("max_delay", 0, ValueError),
    ("max_delay", -1, ValueError),
    ("max_delay", math.inf, ValueError),
    ("jitter", -0.1, ValueError),
    ("jitter", 1.1, ValueError),
    ("reset_after", -1, ValueError),
    ("reset_after", math.inf, ValueError),
]


def test_the_longest_passphrase_is_that_of_openssl() -> None:
    HTTPConfig(client_cert=__file__, client_key_password="é" * 512)
    with pytest.raises(ValueError, match=r"^client_key_password must not be longer than 1,024 bytes$"):
        HTTPConfig(client_cert=__file__, client_key_password="é" * 512 + "a")


def test_the_defaults_of_how_to_connect() -> None:
    """These numbers are promised."""
    assert attrs.asdict(HTTPConfig(), recurse=False) == {
        "proxy_url": None,
        "ca_certs": None,
        "client_cert": None,
        "connect_timeout": 10.0,
        "read_timeout": 300.0,
        "headers": {},
        "user_agent": None,
        "max_event_bytes": 64 * 2**20,
        "session_factory": None,
        "ssl_context": None,
        "client_key_password": None,
    }


def test_the_defaults_of_how_to_retry() -> None:
    """These numbers are promised."""
    assert attrs.asdict(RetryPolicy()) == {
        "max_delay": 30.0,
        "jitter": 0.5,
        "reset_after": 60.0,
    }


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES, ids=ascii)
def test_a_wrong_type_is_a_type_error_that_names_the_field(field: str, value: Any) -> None:
    """At once, and not minutes later in a thread."""
    with pytest.raises(TypeError, match=field):
        HTTPConfig(**{field: value})


@pytest.mark.parametrize(("field", "value"), WRONG_VALUES, ids=ascii)
def test_a_wrong_value_is_a_value_error_that_names_the_field(field: str, value: Any) -> None:
    """At once, and not minutes later in a thread."""
    with pytest.raises(ValueError, match=field):
        HTTPConfig(**{field: value})


def test_the_name_of_a_header_is_a_string() -> None:
    """The error says that it is about a header's name."""
    with pytest.raises(TypeError, match="name of a header must be str, not int"):
        HTTPConfig(headers={5: "a"})  # type: ignore[dict-item]


@pytest.mark.parametrize(("field", "value", "error"), WRONG_POLICIES, ids=ascii)
def test_a_wrong_policy_is_an_error_that_names_the_field(field: str, value: Any, error: type[Exception]) -> None:
    """At once, and not minutes later in a thread."""
    with pytest.raises(error, match=rf"^{field} must be"):
        RetryPolicy(**{field: value})


@pytest.mark.parametrize("jitter", [0, 0.0, 0.5, 1])
def test_jitter_may_be_none_or_all(jitter: float) -> None:
    """Both ends of the range count."""
    assert RetryPolicy(jitter=jitter).jitter == jitter


@pytest.mark.parametrize(
    "options",
    [
        {"proxy_url": f"ftp://user:{SECRET}@proxy"},
        {"proxy_url": f"http://user:{SECRET}@[proxy"},
        {"proxy_url": f"http://user:{SECRET}@pr℀xy"},
        {"headers": {"X-Token": f"{SECRET}\n"}},
        {"headers": {"Proxy-Authorization": f" {SECRET}"}},
        {"headers": {"Authorization": SECRET}},
        {"headers": {"X-Token": [SECRET]}},
        {"user_agent": f"{SECRET}\n"},
    ],
)
def test_no_error_holds_a_secret(options: Mapping[str, Any]) -> None:
    """Neither its text nor that of an error before it."""
    with pytest.raises((TypeError, ValueError)) as caught:
        HTTPConfig(**options)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value.args)
    assert next(iter(options)) in text
    assert SECRET not in text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://proxy", "'http://proxy'"),
        ("https://proxy:3128", "'https://proxy:3128'"),
        (f"http://user:{SECRET}@proxy:3128", "'http://…@proxy:3128'"),
        (f"http://{SECRET}@proxy", "'http://…@proxy'"),
        (f"http://user:a@{SECRET}@[::1]:80", "'http://…@[::1]:80'"),
        (f"http://proxy/{SECRET}?{SECRET}#{SECRET}", "'http://proxy'"),
    ],
)
def test_the_repr_masks_the_proxys_credentials(url: str, shown: str) -> None:
    """What is shown is enough to see which proxy is meant."""
    assert f"(proxy_url={shown}, ca_certs=None, " in repr(HTTPConfig(proxy_url=url))


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "SOCKS5H"])
def test_a_proxy_may_be_one_of_socks(scheme: str) -> None:
    """With user and password, which are masked as ever."""
    config = HTTPConfig(proxy_url=f"{scheme}://user:{SECRET}@proxy:1080")
    assert "://…@proxy:1080" in repr(config)
    assert SECRET not in repr(config)


def test_a_socks_proxy_without_pysocks_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to get it."""
    monkeypatch.setattr("autoconfig.config.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^proxy_url: .*pip install 'ld-autoconfig\[socks\]'$"):
        HTTPConfig(proxy_url="socks5://proxy:1080")


@pytest.mark.parametrize("option", ["ca_certs", "client_cert"])
def test_a_context_stands_in_place_of_files(option: str) -> None:
    """It is used as it is, so nothing could be loaded into it."""
    with pytest.raises(ValueError, match="ssl_context is used as it is"):
        HTTPConfig(ssl_context=ssl.create_default_context(), **{option: __file__})  # type: ignore[arg-type]


def test_the_repr_masks_the_keys_password() -> None:
    """And shows of a context that there is one."""
    text = repr(HTTPConfig(client_cert=__file__, client_key_password=SECRET))
    assert "client_key_password='…'" in text
    assert SECRET not in text
    assert "ssl_context=SSLContext" in repr(HTTPConfig(ssl_context=ssl.create_default_context()))


def test_the_repr_masks_the_values_of_headers() -> None:
    """Their names are shown."""
    text = repr(HTTPConfig(headers={"X-Token": SECRET, "X-B": "b-value"}))
    assert "headers={'X-Token': '…', 'X-B': '…'}" in text
    assert SECRET not in text
    assert "b-value" not in text


@pytest.mark.parametrize("options", [HTTPConfig(), RetryPolicy()], ids=lambda one: type(one).__name__)
def test_nothing_can_be_changed(options: HTTPConfig | RetryPolicy) -> None:
    """Two threads read them."""
    for field in attrs.fields(type(options)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(options, field.name, 1)
    with pytest.raises(AttributeError):
        options.unheard_of = 1  # type: ignore[union-attr]


def test_headers_are_a_copy_that_cannot_be_changed() -> None:
    """Neither through the caller's mapping nor through the attribute."""
    headers = {"X-A": "a"}
    config = HTTPConfig(headers=headers)
    headers["Authorization"] = SECRET
    assert config.headers == {"X-A": "a"}
    with pytest.raises(TypeError):
        config.headers["X-B"] = "b"  # type: ignore[index]


def test_certificates_are_given_as_one_path_or_several(tmp_path: Path) -> None:
    """As text or as path objects, files and directories; one is the same as a list of one."""
    first, second = tmp_path / "first.pem", tmp_path / "second.pem"
    first.touch()
    second.touch()
    for one in (str(first), first, [first], (str(first),), iter([first])):
        assert HTTPConfig(ca_certs=one).ca_certs == (str(first),)
    for several in ([first, str(second), tmp_path], iter((first, second, tmp_path))):
        assert HTTPConfig(ca_certs=several).ca_certs == (str(first), str(second), str(tmp_path))


def test_a_client_certificate_is_a_path_or_a_pair(tmp_path: Path) -> None:
    """In the form that requests takes."""
    certificate, key = tmp_path / "client.pem", tmp_path / "client.key"
    certificate.touch()
    key.touch()
    for one in (str(certificate), certificate):
        assert HTTPConfig(client_cert=one).client_cert == str(certificate)
    for pair in ((certificate, key), (str(certificate), key)):
        assert HTTPConfig(client_cert=pair).client_cert == (str(certificate), str(key))


def test_a_missing_file_is_named() -> None:
    """Of several paths the one that is wrong."""
    with pytest.raises(ValueError, match=r"^ca_certs: there is no file '/no/such/file'$"):
        HTTPConfig(ca_certs=[__file__, "/no/such/file"])


def test_equal_options_are_equal() -> None:
    """However they were written."""
    assert HTTPConfig() == HTTPConfig(headers={}, connect_timeout=10)
    assert HTTPConfig(ca_certs=__file__, headers={"X-A": "a"}) == HTTPConfig(ca_certs=[__file__], headers={"X-A": "a"})
    assert RetryPolicy() == RetryPolicy(30, 0.5, 60)


@pytest.mark.parametrize("field", attrs.fields(HTTPConfig), ids=lambda field: field.name)
def test_options_that_differ_in_one_field_differ(field: attrs.Attribute[Any]) -> None:
    """No field is left out of the comparison."""
    other: dict[str, Any] = {
        "proxy_url": "http://proxy",
        "ca_certs": __file__,
        "client_cert": __file__,
        "connect_timeout": 1,
        "read_timeout": 1,
        "headers": {"X-A": "a"},
        "user_agent": "agent",
        "max_event_bytes": 1,
        "session_factory": requests.Session,
        "ssl_context": ssl.create_default_context(),
        "client_key_password": SECRET,
    }
    plain = HTTPConfig(client_cert=__file__ if field.name == "client_key_password" else None)
    changed = attrs.evolve(plain, **{field.name: other[field.name]})
    assert changed != plain
    assert attrs.evolve(changed, **{field.name: getattr(plain, field.name)}) == plain


def test_the_session_factory_is_not_called_here() -> None:
    """It is called in the reader's thread, before each attempt."""
    called: list[None] = []
    HTTPConfig(session_factory=lambda: called.append(None))  # type: ignore[arg-type, return-value, func-returns-value]
    assert called == []


def test_making_options_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """No log line at import or in a constructor."""
    with caplog.at_level(logging.DEBUG):
        HTTPConfig(proxy_url=f"http://user:{SECRET}@proxy", headers={"X-Token": SECRET})
    assert caplog.records == []
