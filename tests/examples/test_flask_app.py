"""``examples/flask_app.py``, under Flask's own server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from examples.conftest import PRODUCTION, STAGING, Start, need
from msgspec.structs import replace
from support.running import get

from autoconfig.testing import Emulator

pytestmark = need("flask")
FLASK = ["-m", "flask", "--app", "flask_app"]
RUN = [*FLASK, "run", "--port", "0"]


def test_lists_the_environments_without_their_keys(start: Start, service: Emulator) -> None:
    app = start("flask_app.py", *RUN)
    address = app.address()
    assert service.requests == []  # nothing is followed before somebody asks
    status, answer = get(address, "/environments")
    assert (status, answer["state"]) == (200, "VALID")
    assert sorted(answer["environments"], key=lambda one: one["id"]) == [
        {"id": PRODUCTION.env_id, "project": "Shop", "environment": "Production", "secureMode": False, "ttl": 300.0},
        {"id": STAGING.env_id, "project": "Shop", "environment": "Staging", "secureMode": False, "ttl": 0.0},
    ]
    assert "sdk-" not in json.dumps(answer)
    assert "mob-" not in json.dumps(answer)
    app.interrupt()
    app.ended()
    service.wait_for_connections(0)
    assert len(service.requests) == 1


def test_serves_what_it_knows_in_an_outage(start: Start, service: Emulator) -> None:
    app = start("flask_app.py", *RUN)
    address = app.address()
    get(address, "/environments")
    service.fail_next(503, times=1000)
    service.drop_connections()
    service.wait_for_requests(2)  # the attempt that follows the end of the stream
    status, answer = get(address, "/environments")
    assert (status, answer["state"]) == (200, "INTERRUPTED")
    assert len(answer["environments"]) == 2


@pytest.mark.parametrize("command", [[*RUN, "--reload"], [*FLASK, "--debug", *RUN[4:]]], ids=["reload", "debug"])
def test_under_the_reloader_only_the_process_that_serves_follows_the_stream(
    command: list[str], start: Start, service: Emulator, tmp_path: Path
) -> None:
    app = start("flask_app.py", *command)
    address = app.address()
    app.line("Restarting with")
    assert len(get(address, "/environments")[1]["environments"]) == 2
    assert len(service.requests) == 1
    service.set_environment(replace(STAGING, env_name="QA"))
    with (tmp_path / "flask_app.py").open("a") as file:
        file.write("\n# touched\n")
    app.line("Restarting with")
    service.wait_for_connections(0)
    names = {one["environment"] for one in get(address, "/environments")[1]["environments"]}
    assert names == {"Production", "QA"}
    assert (service.connections, len(service.requests)) == (1, 2)
    app.terminate()  # the reloader takes its child with it
    app.ended()


def test_says_so_when_it_has_nothing_yet(start: Start) -> None:
    """At once if the key is refused, because waiting would be in vain."""
    app = start("flask_app.py", *RUN, AUTO_CONFIG_KEY="rel-another")
    assert get(app.address(), "/environments") == (503, {"state": "OFF"})


def test_does_not_come_up_without_a_key(start: Start) -> None:
    app = start("flask_app.py", *RUN, AUTO_CONFIG_KEY="")
    assert app.ended() != 0
    assert "key must not be empty" in app.output


def test_commands_that_serve_nothing_follow_nothing(start: Start, service: Emulator) -> None:
    routes = start("flask_app.py", *FLASK, "routes")
    assert routes.ended() == 0
    assert "/environments" in routes.output
    assert service.requests == []
