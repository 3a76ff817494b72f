"""``autoconfig doctor``: each step can fail, and says so; none shows a secret or takes longer than it may."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests
from cli.findings import KEY, NAMES, PASSWORD, Examine, at, failed, reset
from support.scripted_server import ScriptedServer
from support.tls import stranger, write_authority

from autoconfig.cli import hop, main, story
from autoconfig.cli.replies import Replies
from autoconfig.cli.sockets import connect
from autoconfig.environments import EnvironmentRep
from autoconfig.testing import DEMO_KEY, Emulator


def test_all_is_well(service: Emulator, run: Callable[..., Any], no_secrets: Callable[..., None]) -> None:
    code, out, err = run("doctor", STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line[6:19].strip() for line in lines] == NAMES
    assert lines[0] == f"ok    configuration  {service.uri} (STREAM_URI), key rel-…7e13 (AUTO_CONFIG_KEY)"
    assert lines[1].endswith("none: neither --proxy nor the environment names one")
    assert lines[4].startswith("skip  tls            not needed")
    assert lines[7].startswith("ok    first put      3 environments, 1 filter after ")
    assert lines[8] == "skip  heartbeat      not checked; use --heartbeat 200 to wait for one"
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
    assert found["configuration"]["fix"] == "Set AUTO_CONFIG_KEY, or try it without an account: autoconfig emulate"


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
    assert found["http"]["text"] == f"200 after 307 to {service.uri}/other/relay_auto_config"


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("//user:{PASSWORD}@{host}/there?{PASSWORD}#{PASSWORD}", "http://{host}/there"),
        ("http://user:{PASSWORD}@{host}/there#{PASSWORD}", "http://{host}/there"),
        ("/there/{DEMO_KEY}#{PASSWORD}", "http://{host}/there/rel-…7e13"),
        ("/\x1b[2J", "http://{host}/\\x1b[2J"),
        ("http://{host}/\x1b[2J", "http://{host}/\\x1b[2J"),
        ("http://[{PASSWORD}", "something that is not a URL"),
        ("ftp:user:{PASSWORD}@{host}", "…"),
    ],
)
def test_a_redirect_shows_no_secret_and_moves_no_cursor(
    location: str, shown: str, service: Emulator, examine: Examine
) -> None:
    names = {"PASSWORD": PASSWORD, "DEMO_KEY": DEMO_KEY, "host": service.uri.removeprefix("http://")}
    service.fail_next(307, headers={"Location": location.format_map(names)})
    _, found = examine(*at(service), "-vv")
    assert [one["location"] for one in found["http"]["details"]["redirects"]] in ([], [shown.format_map(names)])
    replies = Replies()
    response = requests.Response()
    response.url, response.headers["Location"] = f"{service.uri}/relay_auto_config", location.format_map(names)
    for hook in replies.session().hooks["response"]:
        hook(response)
    assert replies.last.location == shown.format_map(names)


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
    assert failed(found) == ("tcp", f"127.0.0.1:{port}: Connection refused")


def test_a_server_that_resets_connections_can_be_reached(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reset may come before anything is asked of the socket, such as whom it is connected to."""

    connected = threading.Event()

    def connect_and_wait(*arguments: Any) -> Any:
        found = connect(*arguments)
        connected.set()
        select.select([found[0]], [], [], 5)  # until the reset is there
        return found

    monkeypatch.setattr(hop, "connect", connect_and_wait)
    with socket.create_server(("127.0.0.1", 0)) as server:
        resetting = threading.Thread(target=lambda: connected.wait(5) and [reset(server) for _ in range(2)])
        resetting.start()
        port = server.getsockname()[1]
        code, found = examine("--uri", f"http://127.0.0.1:{port}", "--key", KEY)
        resetting.join()
    assert found["tcp"]["text"] == f"127.0.0.1:{port}"
    assert (code, failed(found)[0]) == (1, "http")
    assert found["http"]["fix"] == "The host could be reached a moment ago. Try again."


def resolve(monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any]) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answer)


def test_a_name_that_is_unknown(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolve(monkeypatch, unknown)
    code, found = examine("--uri", "https://nowhere.example", "--key", KEY)
    assert (code, failed(found)) == (1, ("dns", "nowhere.example: cannot look up the name: Name or service not known"))


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


@pytest.mark.parametrize("named", ["--ca-file", "REQUESTS_CA_BUNDLE"])
def test_a_file_without_certificates_is_not_the_servers_fault(
    named: str, certified: Callable[..., Emulator], examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "none.pem"
    file.write_text("no PEM")
    arguments = ("--ca-file", str(file)) if named == "--ca-file" else ()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    code, found = examine(*at(certified()), *arguments)
    assert (code, failed(found)) == (1, ("tls", f"{named} holds no usable certificates"))


def test_plain_http_to_another_machine(examine: Examine, monkeypatch: pytest.MonkeyPatch, service: Emulator) -> None:
    monkeypatch.setattr("autoconfig.cli.network_checks._is_loopback", lambda address: False)
    code, found = examine(*at(service))
    assert (code, found["tls"]["state"]) == (0, "warn")
    assert found["tls"]["text"] == "none: anyone on the path can read the keys"


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
