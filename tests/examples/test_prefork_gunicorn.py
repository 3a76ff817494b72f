"""``examples/prefork_gunicorn.py``, under gunicorn."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from examples.conftest import STAGING, Start, need
from msgspec.structs import replace
from support.running import DEADLINE, get
from support.waiting import wait_until
from support.workers import ask_each

from autoconfig.testing import Emulator

pytestmark = need("gunicorn")
RUN = ["-m", "gunicorn", "-c", "python:prefork_gunicorn", "-b", "127.0.0.1:0", "prefork_gunicorn:app"]


def answers(address: str) -> dict[int, list[str]]:
    """Return what each of the two workers knows."""

    def ask() -> dict[str, Any]:
        status, answer = get(address)
        assert status == 200
        return {"pid": answer["worker"], **answer}

    return {pid: answer["environments"] for pid, answer in ask_each(2, ask).items()}


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_each_worker_follows_the_stream(options: list[str], start: Start, service: Emulator) -> None:
    server = start("prefork_gunicorn.py", *RUN, *options)
    address = server.address()
    assert list(answers(address).values()) == [["Shop / Production", "Shop / Staging"]] * 2
    assert (service.connections, len(service.requests)) == (2, 2)
    service.set_environment(replace(STAGING, env_name="QA"))
    wait_until(
        lambda: list(answers(address).values()) == [["Shop / Production", "Shop / QA"]] * 2, "the change in both"
    )
    server.terminate()
    assert server.ended() == 0
    service.wait_for_connections(0)
    assert " WARNING autoconfig" not in server.output
    assert "Traceback" not in server.output


def test_a_new_worker_starts_anew(start: Start, service: Emulator) -> None:
    server = start("prefork_gunicorn.py", *RUN)
    address = server.address()
    before = set(answers(address))
    server.process.send_signal(signal.SIGHUP)  # gunicorn replaces its workers
    service.wait_for_requests(4, DEADLINE)
    service.wait_for_connections(2, DEADLINE)
    assert not before & set(answers(address))
    assert " WARNING autoconfig" not in server.output


def test_does_not_come_up_without_a_key(start: Start) -> None:
    server = start("prefork_gunicorn.py", *RUN, AUTO_CONFIG_KEY="")
    assert server.ended() != 0
    assert "key must not be empty" in server.output
