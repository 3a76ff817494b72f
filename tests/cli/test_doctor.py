"""``autoconfig doctor``: each step can fail, and says so; none shows a secret or takes longer than it may."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.proxies import Proxy
from support.scripted_server import ScriptedServer
from support.tls import authority, stranger, write_authority

from autoconfig.cli import main, story
from autoconfig.environments import EnvironmentRep
from autoconfig.testing import DEMO_KEY, Emulator

NAMES = ["configuration", "proxy", "dns", "tcp", "tls", "http", "content type", "first put", "heartbeat"]
KEY = "rel-0123456789abcdef0123456789abcdef"
PASSWORD = "a-proxys-pass-word"
Findings = dict[str, dict[str, Any]]
Examine = Callable[..., tuple[int, Findings]]


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str], no_secrets: Callable[..., None]) -> Examine:
    """Run the doctor; return its exit code and what it found, by the name of the check."""

    def examine(*arguments: str) -> tuple[int, Findings]:
        code = main(["doctor", "--json", *arguments])
        out, err = capsys.readouterr()
        no_secrets(out, err)
        assert KEY not in out + err
        assert PASSWORD not in out + err
        found = [json.loads(line) for line in out.splitlines()]
        assert [one["check"] for one in found] == NAMES
        return code, {one["check"]: one for one in found}

    return examine


@pytest.fixture
def certified(tmp_path: Path) -> Iterator[Callable[..., Emulator]]:
    """Start an emulator with a certificate for a name."""
    running: list[Emulator] = []

    def certified(name: str = "127.0.0.1", **validity: datetime) -> Emulator:
        pem = tmp_path / "server.pem"
        authority().issue_cert(name, **validity).private_key_and_cert_chain_pem.write_to_path(pem)
        running.append(Emulator(story.ENVIRONMENTS, certificate=(pem, pem)))
        running[-1].start()
        return running[-1]

    yield certified
    for one in running:
        one.close()


def at(service: Emulator) -> tuple[str, ...]:
    return "--uri", service.uri, "--key", service.key


def failed(found: Findings) -> tuple[str, str]:
    """Return the one check that failed, and what it says; those after it must be skipped because of it."""
    name = next(name for name in NAMES if found[name]["state"] == "fail")
    rest = NAMES[NAMES.index(name) + 1 :]
    assert [found[one]["text"] for one in rest] == [f"because {name} failed"] * len(rest)
    assert found[name]["fix"]
    return name, found[name]["text"]


def test_all_is_well(service: Emulator, run: Callable[..., Any], no_secrets: Callable[..., None]) -> None:
    code, out, err = run("doctor", STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line[6:19].strip() for line in lines] == NAMES
    assert lines[0] == f"ok    configuration  {service.uri} (STREAM_URI), key rel-…7e13 (AUTO_CONFIG_KEY)"
    assert lines[1].endswith("none: neither --proxy nor the environment names one")
    assert lines[4].startswith("skip  tls            not needed")
    assert lines[7].startswith("ok    first put      3 environments, 1 filter after ")
    assert lines[8] == "skip  heartbeat      not waited for; --heartbeat 200 does"
    no_secrets(out)


def test_waits_for_a_heartbeat(examine: Examine) -> None:
    with Emulator(story.ENVIRONMENTS, heartbeat_interval=0.1) as service:
        code, found = examine(*at(service), "--heartbeat", "10")
    assert code == 0
    assert found["heartbeat"]["details"]["what"] == "heartbeat"
    assert 0.05 < found["heartbeat"]["details"]["gap"] < 5


def test_takes_an_event_for_a_heartbeat(service: Emulator, examine: Examine) -> None:
    change = threading.Timer(0.2, service.send_put)
    change.start()
    _, found = examine(*at(service), "--heartbeat", "10")
    change.join()
    assert found["heartbeat"]["text"].startswith("'put' event after ")


def test_silence_for_less_than_the_services_interval_is_no_failure(service: Emulator, examine: Examine) -> None:
    code, found = examine(*at(service), "--heartbeat", "0.2")
    assert (code, found["heartbeat"]["state"]) == (0, "warn")
    assert found["heartbeat"]["text"] == "nothing within 0.2 s"


def test_silence_for_longer_is_one(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.cli.stream_checks._HEARTBEAT", 0.1)
    code, found = examine(*at(service), "--heartbeat", "0.2")
    assert (code, failed(found)) == (1, ("heartbeat", "nothing within 0.2 s"))


def test_a_stream_that_ends_instead(service: Emulator, examine: Examine) -> None:
    cut = threading.Timer(0.2, service.drop_connections)
    cut.start()
    code, found = examine(*at(service), "--heartbeat", "10")
    cut.join()
    assert (code, failed(found)[0]) == (1, "heartbeat")


def test_without_a_key(examine: Examine) -> None:
    code, found = examine()
    assert code == 1
    assert failed(found) == ("configuration", found["configuration"]["text"])
    assert "no key" in found["configuration"]["text"]


def test_a_key_in_the_place_of_the_uri_is_not_shown(examine: Examine) -> None:
    code, found = examine("--uri", KEY, "--key", KEY)
    assert (code, failed(found)[0]) == (1, "configuration")


def test_a_key_of_another_kind(examine: Examine) -> None:
    with Emulator(story.ENVIRONMENTS, key="sdk-0123456789abcdef") as service:
        code, found = examine(*at(service))
    assert (code, found["configuration"]["state"]) == (0, "warn")


def test_a_profile_without_environments(examine: Examine) -> None:
    with Emulator() as service:
        code, found = examine(*at(service))
    assert (code, found["first put"]["state"]) == (0, "warn")


def test_a_rejected_key(service: Emulator, examine: Examine) -> None:
    code, found = examine("--uri", service.uri, "--key", KEY)
    assert (code, failed(found)) == (3, ("http", "401: the service rejected the key rel-…cdef (--key)"))
    service.fail_next(403)
    code, found = examine(*at(service))
    assert (code, failed(found)) == (3, ("http", "403: the service rejected the key rel-…7e13 (--key)"))


@pytest.mark.parametrize(
    ("status", "fix"), [(404, "/relay_auto_config"), (407, "USER:PASSWORD"), (429, "Too many"), (503, "status.launch")]
)
def test_another_status(status: int, fix: str, service: Emulator, examine: Examine) -> None:
    service.fail_next(status)
    code, found = examine(*at(service))
    assert (code, failed(found)) == (1, ("http", str(status)))
    assert fix in found["http"]["fix"]
    assert found["http"]["details"]["status"] == status


def test_a_redirect(service: Emulator, examine: Examine) -> None:
    service.fail_next(307, headers={"Location": f"/other/relay_auto_config?key={PASSWORD}"})
    code, found = examine(*at(service))
    assert (code, found["http"]["state"]) == (0, "warn")
    assert found["http"]["text"] == "200 after 307 to /other/relay_auto_config"


def test_a_redirect_to_another_host(service: Emulator, examine: Examine) -> None:
    with Emulator(key=service.key) as other:
        service.fail_next(307, headers={"Location": f"{other.uri}/relay_auto_config"})
        code, found = examine(*at(service))
    assert (code, failed(found)) == (1, ("http", f"401 after 307 to {other.uri}/relay_auto_config"))
    assert "not sent the key" in found["http"]["fix"]


def test_a_page_instead_of_a_stream(service: Emulator, examine: Examine) -> None:
    service.fail_next(200)
    code, found = examine(*at(service))
    assert found["http"]["text"] == "200"
    assert (code, failed(found)) == (1, ("content type", "'text/plain' instead of text/event-stream"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([], "not done within 0.5 s"),
        ([{"raw": ":\n"}, {"close": "abrupt"}], "after 2 bytes and before a put"),
        ([{"event": "put", "data": "{"}], 'malformed "put" event: not JSON'),
    ],
)
def test_no_put(script: list[dict[str, str]], words: str, examine: Examine) -> None:
    with ScriptedServer([script]) as server:
        code, found = examine("--uri", server.url, "--key", KEY, "--timeout", "0.5")
    assert (code, failed(found)[0]) == (1, "first put")
    assert words in found["first put"]["text"]


def test_a_put_with_flaws(examine: Examine) -> None:
    rep = EnvironmentRep(env_id="env-1")
    content = {"envID": rep.env_id, "sdkKeys": [{"key": "x", "value": ""}]}
    put = json.dumps({"path": "/", "data": {"environments": {rep.env_id: content}}})
    with ScriptedServer([[{"event": "put", "data": put}]]) as server:
        code, found = examine("--uri", server.url, "--key", KEY)
    assert (code, found["first put"]["state"]) == (0, "warn")
    assert "flawed: 'env-1'" in found["first put"]["text"]


def test_a_put_that_is_too_large(examine: Examine, monkeypatch: pytest.MonkeyPatch, service: Emulator) -> None:
    small = lambda **fields: attrs.evolve(real(**fields), max_event_bytes=100)  # noqa: E731
    from autoconfig.cli import connection

    real = connection.HTTPConfig
    monkeypatch.setattr(connection, "HTTPConfig", small)
    code, found = examine(*at(service))
    assert (code, failed(found)) == (1, ("first put", "it is larger than the client takes"))


def test_a_service_that_hangs(service: Emulator, examine: Examine) -> None:
    service.stall()
    began = time.monotonic()
    code, found = examine(*at(service), "--timeout", "0.3")
    assert (code, failed(found)) == (1, ("http", "not done within 0.3 s"))
    assert time.monotonic() - began < 3


def test_a_port_that_nobody_listens_on(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    code, found = examine("--uri", f"http://127.0.0.1:{port}", "--key", KEY)
    assert code == 1
    assert failed(found) == ("tcp", f"127.0.0.1:{port}: ConnectionRefusedError: Connection refused")


def resolve(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_name_that_is_unknown(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve(monkeypatch, unknown)
    code, found = examine("--uri", "https://nowhere.example", "--key", KEY)
    assert (code, failed(found)) == (1, ("dns", "nowhere.example: gaierror: Name or service not known"))


def test_name_servers_that_do_not_answer(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def silent(*_: object) -> list[object]:
        answered.wait(10)
        return []

    resolve(monkeypatch, silent)
    code, found = examine("--uri", "https://nowhere.example", "--key", KEY, "--timeout", "0.2")
    answered.set()
    assert (code, failed(found)) == (1, ("dns", "nowhere.example: no answer within 0.2 s"))


def test_an_address_that_does_not_answer_before_one_that_does(
    service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def both(host: str, *rest: Any, **more: Any) -> Any:
        if host != "service.example":
            return real(host, *rest, **more)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, rest[0])) for address in ("127.0.0.2", "127.0.0.1")
        ]

    resolve(monkeypatch, both)
    port = service.uri.rpartition(":")[2]
    code, found = examine("--uri", f"http://service.example:{port}", "--key", service.key)
    assert found["dns"]["text"] == "service.example: 127.0.0.2, 127.0.0.1"
    assert (code, found["tcp"]["state"], found["tcp"]["text"]) == (0, "warn", f"127.0.0.1:{port}; not 127.0.0.2")


def test_a_certificate(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    code, found = examine(*at(certified()), "--ca-file", write_authority(tmp_path))
    assert code == 0
    assert found["tls"]["details"]["version"] == "TLSv1.3"
    assert "trustme" in found["tls"]["details"]["issuer"]
    assert found["tls"]["details"]["days"] > 14


def test_a_certificate_that_ends_soon(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    service = certified(not_after=datetime.now(timezone.utc) + timedelta(days=3, hours=1))
    code, found = examine(*at(service), "--ca-file", write_authority(tmp_path))
    assert (code, found["tls"]["state"], found["tls"]["details"]["days"]) == (0, "warn", 3)


def test_a_certificate_that_is_not_trusted(
    certified: Callable[..., Emulator], examine: Examine, tmp_path: Path
) -> None:
    service = certified()
    for arguments in ((), ("--ca-file", write_authority(tmp_path, stranger()))):
        code, found = examine(*at(service), *arguments)
        assert (code, failed(found)[0]) == (1, "tls")
        assert found["tls"]["text"].startswith("not trusted: unable to get local issuer certificate; issued by trustme")
        assert "--ca-file FILE" in found["tls"]["fix"]


def test_a_certificate_of_another_host(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    code, found = examine(*at(certified("other.example")), "--ca-file", write_authority(tmp_path))
    assert (code, failed(found)[0]) == (1, "tls")
    assert "IP address mismatch" in found["tls"]["text"]
    assert "name of the host" in found["tls"]["fix"]


def test_a_certificate_that_has_ended(certified: Callable[..., Emulator], examine: Examine, tmp_path: Path) -> None:
    service = certified(not_after=datetime.now(timezone.utc) - timedelta(days=1))
    code, found = examine(*at(service), "--ca-file", write_authority(tmp_path))
    assert (code, failed(found)[0]) == (1, "tls")
    assert "certificate has expired" in found["tls"]["text"]
    assert "clock" in found["tls"]["fix"]


def test_no_tls_where_there_should_be(service: Emulator, examine: Examine) -> None:
    code, found = examine("--uri", service.uri.replace("http", "https"), "--key", service.key)
    assert (code, failed(found)[0]) == (1, "tls")
    assert "speak https" in found["tls"]["fix"]


def test_a_handshake_that_hangs(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"https://127.0.0.1:{silent.getsockname()[1]}"
        code, found = examine("--uri", uri, "--key", KEY, "--timeout", "0.3")
    assert (code, failed(found)[0]) == (1, "tls")


def test_certificates_that_are_not_there(
    certified: Callable[..., Emulator], examine: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "nowhere.pem")
    code, found = examine(*at(certified()))
    assert (code, failed(found)) == (1, ("tls", "there is no file of the name in REQUESTS_CA_BUNDLE"))


def test_plain_http_to_another_machine(examine: Examine, monkeypatch: pytest.MonkeyPatch, service: Emulator) -> None:
    monkeypatch.setattr("autoconfig.cli.network_checks._is_loopback", lambda address: False)
    code, found = examine(*at(service))
    assert (code, found["tls"]["state"]) == (0, "warn")
    assert found["tls"]["text"] == "none: all on the way can read the keys"


def test_through_a_proxy(service: Emulator, examine: Examine) -> None:
    with Proxy() as proxy:
        url = proxy.url(f"user:{PASSWORD}")
        code, found = examine(*at(service), "--proxy", url)
        assert [request.method for request in proxy.requests] == ["GET"]
    assert code == 0
    assert found["proxy"]["text"] == f"{proxy.url()} from --proxy, with a user and a password"
    assert found["dns"]["details"]["host"] == "127.0.0.1"


def test_through_a_tunnel(
    certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = certified()
    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url(f"user:{PASSWORD}"))
        code, found = examine(*at(service), "--ca-file", write_authority(tmp_path))
        assert {request.method for request in proxy.requests} == {"CONNECT"}
        assert all("proxy-authorization" in request.headers for request in proxy.requests)
        assert found["proxy"]["text"] == f"{proxy.url()} from HTTPS_PROXY, with a user and a password"
        assert found["tcp"]["text"].endswith(f"(the proxy), and through it {service.uri.removeprefix('https://')}")
        assert (code, found["tls"]["state"]) == (0, "ok")
        # The issuer of what a proxy opens is what one needs to know of it.
        _, found = examine(*at(service))
        assert "issued by trustme" in found["tls"]["text"]


@pytest.mark.parametrize(("status", "fix"), [(407, "USER:PASSWORD"), (403, "allow connections"), (502, "has to reach")])
def test_a_proxy_that_refuses(status: int, fix: str, examine: Examine) -> None:
    with Proxy(refusal=status) as proxy:
        code, found = examine("--uri", "https://service.example", "--key", KEY, "--proxy", proxy.url())
    expected = f"the proxy refused a connection to service.example:443 with status {status}"
    assert (code, failed(found)) == (1, ("tcp", expected))
    assert fix in found["tcp"]["fix"]


def test_a_proxy_that_is_none(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answering = threading.Thread(target=lambda: answer(server, b"SSH-2.0-nothing\r\n\r\n"))
        answering.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        code, found = examine("--uri", "https://service.example", "--key", KEY, "--proxy", url)
        answering.join()
    assert (code, failed(found)) == (1, ("tcp", "the proxy's answer is not HTTP"))


def answer(server: socket.socket, data: bytes) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(4096):
            pass


def test_no_proxy_exempts_a_host(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    code, found = examine(*at(service))
    assert (code, found["proxy"]["text"]) == (0, "none: NO_PROXY exempts the host from HTTP_PROXY")


def test_a_variable_that_names_no_proxy(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://user:{PASSWORD}@")
    code, found = examine(*at(service))
    assert (code, failed(found)) == (1, ("proxy", "what HTTP_PROXY holds is not the URL of a proxy"))


@pytest.mark.parametrize("scheme", ["https", "socks5"])
def test_other_proxies_have_no_tls_check_of_their_own(scheme: str, examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"{scheme}://127.0.0.1:{server.getsockname()[1]}"
        arguments = ("--uri", "https://service.example", "--key", KEY, "--timeout", "0.3")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("HTTPS_PROXY", url)
            code, found = examine(*arguments)
    assert (code, failed(found)[0]) == (1, "http")
    assert found["tls"]["state"] == "skip"


def test_prints_what_to_do_below_what_is_wrong(service: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--uri", service.uri, "--key", KEY]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].startswith("FAIL  http           401: the service rejected the key rel-…cdef (--key)")
    assert lines[6].startswith("                     → Is it the key of an auto-configuration profile (rel-…)")
    assert lines[7] == "skip  content type   because http failed"


def test_ends_on_ctrl_c(start: Callable[..., Any], service: Emulator) -> None:
    service.stall()
    running = start("doctor", "--uri", service.uri, "--key", DEMO_KEY)
    service.wait_for_requests(1, timeout=10)
    os.kill(running.process.pid, 2)
    assert running.ended(within=2) == 130
    assert running.stderr == ""
