"""``autoconfig doctor``: each step can fail, and says so; none shows a secret or takes longer than it may."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from cli.findings import DEADLINE, KEY, NAMES, PASSWORD, Examine, at, failed
from cli.plain_service import PlainService, environment, event, put
from support.addresses import free_port
from support.loopback import head
from support.raw_server import RawServer
from support.scripted_server import ScriptedServer
from support.tls import server_context

from autoconfig.cli import demo, doctor, main
from autoconfig.cli.doctor import Replies
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
    with Emulator(demo.ENVIRONMENTS, heartbeat_interval=0.1) as service:
        code, found = examine(*at(service), "--heartbeat", f"{DEADLINE}")
    assert code == 0
    assert found["heartbeat"]["details"]["what"] == "heartbeat"
    assert 0 < found["heartbeat"]["details"]["gap"] < DEADLINE


def test_takes_an_event_for_a_heartbeat(service: Emulator, examine: Examine) -> None:
    heard = threading.Event()

    def send() -> None:
        while not heard.wait(0.1):
            service.send_put()

    sending = threading.Thread(target=send)
    sending.start()
    _, found = examine(*at(service), "--heartbeat", f"{DEADLINE}")
    heard.set()
    sending.join()
    assert found["heartbeat"]["text"].startswith("event after ")


def test_silence_for_less_than_the_services_interval_is_no_failure(service: Emulator, examine: Examine) -> None:
    code, found = examine(*at(service), "--heartbeat", "0.2")
    assert (code, found["heartbeat"]["state"]) == (0, "warn")
    assert found["heartbeat"]["text"] == "nothing within 0.2 s"


def test_silence_for_longer_is_one(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.cli.doctor._HEARTBEAT", 0.1)
    code, found = examine(*at(service), "--heartbeat", "0.2")
    assert (code, failed(found)) == (1, ("heartbeat", "nothing within 0.2 s"))


def test_a_stream_that_ends_instead(service: Emulator, examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    heartbeat = doctor.Examination._heartbeat

    def cut_and_wait(checks: doctor.Examination) -> Any:
        service.drop_connections()
        return heartbeat(checks)

    monkeypatch.setattr(doctor.Examination, "_heartbeat", cut_and_wait)
    code, found = examine(*at(service), "--heartbeat", f"{DEADLINE}")
    assert (code, failed(found)[0]) == (1, "heartbeat")


def test_without_a_key(examine: Examine) -> None:
    code, found = examine()
    assert code == 2
    assert failed(found) == ("configuration", "AUTO_CONFIG_KEY: there is no auto-configuration key")
    assert "autoconfig demo" in found["configuration"]["fix"]


def test_a_key_in_the_place_of_the_uri_is_not_shown(examine: Examine) -> None:
    code, found = examine("--uri", KEY, "--key", KEY)
    assert (code, failed(found)[0]) == (2, "configuration")


def test_a_key_of_another_kind(examine: Examine) -> None:
    with Emulator(demo.ENVIRONMENTS, key="sdk-0123456789abcdef") as service:
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
    response.status_code = 307
    response.url, response.headers["Location"] = f"{service.uri}/relay_auto_config", location.format_map(names)
    for hook in replies.session().hooks["response"]:
        hook(response)
    assert replies.redirects[-1]["location"] == shown.format_map(names)


def test_a_redirect_to_another_host(service: Emulator, examine: Examine) -> None:
    with Emulator(key=service.key) as other:
        service.fail_next(307, headers={"Location": f"{other.uri}/relay_auto_config"})
        code, found = examine(*at(service))
    assert (code, failed(found)) == (1, ("http", f"401 after 307 to {other.uri}/relay_auto_config"))
    assert "does not get the key" in found["http"]["fix"]


def test_a_page_instead_of_a_stream(service: Emulator, examine: Examine) -> None:
    service.fail_next(200)
    code, found = examine(*at(service))
    assert found["http"]["text"] == "200"
    assert (code, failed(found)) == (1, ("content type", "'text/plain' instead of text/event-stream"))


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([], "no put within 3 s"),
        (
            [{"event": "hello", "data": "{}"}, {"event": "put", "data": '{"path": "/x"}'}],
            "that can be used, and 2 other events",
        ),
        ([{"raw": ":\n"}, {"close": "abrupt"}], ", before a put"),
        ([{"event": "put", "data": "{"}], 'malformed "put" event: not JSON'),
    ],
)
def test_no_put(script: list[dict[str, str]], words: str, examine: Examine) -> None:
    with ScriptedServer([script]) as server:
        code, found = examine("--uri", server.url, "--key", KEY, "--timeout", "3")
    assert (code, failed(found)[0]) == (1, "first put")
    assert words in found["first put"]["text"]
    assert ("hold the stream back" in found["first put"]["fix"]) == (
        "other events" not in words and "JSON" not in words
    )


BAD = environment("ash", "Ash", sdkKeys=[{"key": "default", "value": ""}])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (put(BAD), "ash: sdkKeys has an entry without a value"),
        (
            event("put", {"path": "/", "data": {"environments": {"fir": environment("fir2", "Fir")}}}),
            "Ignored environment 'fir2', which is listed under 'fir'",
        ),
        (put(environment("oak", "Oak", version="1")), 'malformed "put" event'),
    ],
    ids=["refused", "foreign", "wrong type"],
)
def test_a_put_of_which_nothing_is_usable_is_a_failure(answer: bytes, reason: str, examine: Examine) -> None:
    with PlainService(answer) as service:
        code, found = examine("--uri", service.uri, "--key", KEY)
    assert (code, failed(found)[0]) == (1, "first put")
    assert found["first put"]["text"].startswith("nothing of the put can be used: ")
    assert reason in found["first put"]["text"]


def test_what_comes_after_the_put_does_not_spoil_it(examine: Examine) -> None:
    """Its calls may come after the error, which another thread reports."""
    with PlainService(put(environment("oak", "Oak")) + event("put", "nothing")) as service:
        code, found = examine("--uri", service.uri, "--key", KEY)
    assert (code, found["first put"]["state"]) == (0, "ok")
    assert found["first put"]["text"].startswith("1 environment, 0 filters")


def test_what_is_refused_or_ignored_is_counted_and_named(examine: Examine) -> None:
    content = {"oak": environment("oak", "Oak"), "ash": BAD, "fir": environment("fir2", "Fir")}
    with PlainService(event("put", {"path": "/", "data": {"environments": content}})) as service:
        code, found = examine("--uri", service.uri, "--key", KEY)
    assert (code, found["first put"]["state"]) == (0, "warn")
    assert found["first put"]["text"].endswith(
        "; 1 refused, 1 ignored: ash: sdkKeys has an entry without a value; "
        "Ignored environment 'fir2', which is listed under 'fir'"
    )


def test_what_the_service_sends_is_well(examine: Examine) -> None:
    with PlainService(put(environment("oak", "Oak"))) as service:
        code, found = examine("--uri", service.uri, "--key", KEY)
    assert (code, found["first put"]["state"]) == (0, "ok")


def test_a_service_that_hangs(service: Emulator, examine: Examine) -> None:
    service.stall()
    began = time.monotonic()
    code, found = examine(*at(service), "--timeout", "3")
    assert (code, failed(found)) == (1, ("http", "no answer within 3 s"))
    assert time.monotonic() - began < 30


def test_a_port_that_nobody_listens_on(examine: Examine) -> None:
    port = free_port()
    code, found = examine("--uri", f"http://127.0.0.1:{port}", "--key", KEY)
    assert code == 1
    assert failed(found) == ("tcp", f"127.0.0.1:{port}: nothing listens on this port (connection refused)")
    assert found["tcp"]["fix"] == f"Is port {port} the right one (--uri), and does the service run there?"


def test_a_redirect_to_a_host_that_is_dead(service: Emulator, examine: Examine) -> None:
    dead = f"http://127.0.0.1:{free_port()}/relay_auto_config"
    service.fail_next(307, headers={"Location": dead})
    code, found = examine(*at(service))
    assert (code, failed(found)[0]) == (1, "http")
    assert found["http"]["text"].startswith(f"after 307 to {dead}: ")
    assert f"sends the client to {dead}, which cannot be used" in found["http"]["fix"]


def test_plain_http_to_a_tls_port(certified: Callable[..., Emulator], examine: Examine) -> None:
    uri = certified().uri.replace("https", "http")
    code, found = examine("--uri", uri, "--key", KEY)
    assert (code, failed(found)[0]) == (1, "http")
    assert found["http"]["text"] == f"{uri.removeprefix('http://')} expects TLS, and got plain HTTP"
    assert found["http"]["fix"] == "Change the URI (--uri): https:// instead of http://."


def test_plain_http_to_a_tls_port_that_answers_it(examine: Examine) -> None:
    """As nginx and Go do: 400 to what is plain HTTP."""
    with RawServer([head(400, {"Content-Length": "0"})], context=server_context()) as server:
        code, found = examine("--uri", f"http://127.0.0.1:{server.port}", "--key", KEY)
    assert (code, failed(found)[0]) == (1, "http")
    assert found["http"]["text"].endswith(" expects TLS, and got plain HTTP")


@pytest.mark.parametrize(
    ("proxied", "fix"), [(False, "the port of another service"), (True, "The proxy could be reached")]
)
def test_an_answer_that_is_not_http(proxied: bool, fix: str, examine: Examine) -> None:
    with RawServer([b"SSH-2.0-nothing\r\n\r\n"]) as server:
        arguments = ("--uri", "http://service.example", "--proxy", server.url) if proxied else ("--uri", server.url)
        code, found = examine(*arguments, "--key", KEY)
    assert (code, failed(found)[0]) == (1, "http")
    assert fix in found["http"]["fix"]


def test_prints_what_to_do_below_what_is_wrong(service: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--uri", service.uri, "--key", KEY]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[5].startswith("FAIL  http           401: the service rejected the key rel-…cdef (--key)")
    assert lines[6].startswith("                     → Is it the key of an auto-configuration profile (rel-…)")
    assert lines[7] == "skip  content type   because http failed"


def test_ends_on_ctrl_c(start: Callable[..., Any], service: Emulator) -> None:
    service.stall()
    running = start("doctor", "--uri", service.uri, "--key", DEMO_KEY)
    service.wait_for_requests(1, timeout=DEADLINE)
    os.kill(running.process.pid, 2)
    assert running.ended() == 130
    assert running.stderr == ""
