"""Whose certificates are trusted: ``ca_certs`` alone if given, else the environment's bundle, else the default one."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from safety.certificates import Authority, Front
from safety.log import LogWatch
from safety.wire import EMPTY_PUT, ENDED, KEY, Follow
from support.proxies import Proxy
from support.recorder import Recorder
from support.scripted_server import ScriptedServer

BUNDLES = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
UNKNOWN = "unable to get local issuer certificate"


@pytest.fixture
def server(stack: ExitStack) -> ScriptedServer:
    """The service."""
    return stack.enter_context(ScriptedServer([[EMPTY_PUT, ENDED], [EMPTY_PUT]]))


@pytest.fixture
def front(server: ScriptedServer, authority: Authority, stack: ExitStack) -> Front:
    """The service's https side."""
    return stack.enter_context(Front(server, authority.context()))


@pytest.mark.parametrize("bundle", BUNDLES)
def test_the_environments_bundle_is_trusted(
    bundle: str,
    front: Front,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    follow: Follow,
    recorder: Recorder,
) -> None:
    monkeypatch.setenv(bundle, str(authority.file))
    follow(front.url)
    recorder.wait_for_calls(2)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_ca_certs_win_over_the_environment(
    bundle: str,
    server: ScriptedServer,
    front: Front,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
    follow: Follow,
    log: LogWatch,
) -> None:
    monkeypatch.setenv(bundle, str(authority.file))
    follow(front.url, ca_certs=stranger.file)
    assert UNKNOWN in log.wait_for_failure()
    assert server.requests == []


@pytest.mark.parametrize("bundle", BUNDLES)
def test_ca_certs_are_trusted_whatever_the_environment_says(
    bundle: str,
    front: Front,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
    follow: Follow,
    recorder: Recorder,
) -> None:
    monkeypatch.setenv(bundle, str(stranger.file))
    follow(front.url, ca_certs=authority.file)
    recorder.wait_for_calls(2)


@pytest.mark.parametrize("replaced", [False, True])
def test_ca_certs_replace_the_default_ones(
    replaced: bool,
    server: ScriptedServer,
    front: Front,
    authority: Authority,
    stranger: Authority,
    monkeypatch: pytest.MonkeyPatch,
    follow: Follow,
    recorder: Recorder,
    log: LogWatch,
) -> None:
    monkeypatch.setattr(requests.adapters, "DEFAULT_CA_BUNDLE_PATH", str(authority.file))
    follow(front.url, ca_certs=stranger.file if replaced else None)
    if not replaced:
        recorder.wait_for_calls(2)
        return
    assert UNKNOWN in log.wait_for_failure()
    assert server.requests == []


@pytest.mark.parametrize("own_first", [False, True])
def test_several_ca_certs_all_count(
    own_first: bool,
    server: ScriptedServer,
    authority: Authority,
    stranger: Authority,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
) -> None:
    files = [authority.file, stranger.file]
    for one in (authority, stranger):
        front = stack.enter_context(Front(server, one.context()))
        follow(front.url, ca_certs=files if own_first else files[::-1])
    recorder.wait_for_calls(2)
    assert [request.headers["authorization"] for request in server.requests] == [KEY] * len(server.requests)


@pytest.mark.skipif(not shutil.which("openssl"), reason="a directory of certificates is made by openssl's command")
@pytest.mark.parametrize("position", ["alone", "first", "last"])
def test_a_directory_of_ca_certs_counts(
    position: str,
    front: Front,
    authority: Authority,
    stranger: Authority,
    tmp_path: Path,
    follow: Follow,
    recorder: Recorder,
) -> None:
    shutil.copy(authority.file, tmp_path)
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True, timeout=30)
    orders = {"alone": [tmp_path], "first": [tmp_path, stranger.file], "last": [stranger.file, tmp_path]}
    follow(front.url, ca_certs=orders[position])
    recorder.wait_for_calls(2)


def test_a_bundle_that_is_missing_is_named(
    tmp_path: Path, front: Front, monkeypatch: pytest.MonkeyPatch, follow: Follow, log: LogWatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    follow(front.url)
    line = log.wait_for_failure()
    assert "certificate" in line or "missing.pem" in line or "No such file" in line


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("trust", ["ca_certs", "environment"])
def test_an_https_proxy_is_trusted_by_the_same_certificates(
    scheme: str,
    trust: str,
    front: Front,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    stack: ExitStack,
    follow: Follow,
    recorder: Recorder,
) -> None:
    proxy = stack.enter_context(Proxy(context=authority.context()))
    if trust == "environment":
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
    follow(front.url_by(scheme), proxy_url=proxy.url, ca_certs=authority.file if trust == "ca_certs" else None)
    recorder.wait_for_calls(2)
    assert len(proxy.requests) == 2
