"""``autoconfig mirror``, and the commands that follow what it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis
from support.redis_server import RedisServer

from autoconfig.cli import main
from autoconfig.testing import DEMO_KEY, Emulator

Start = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]
SECRET = {"AUTO_CONFIG_REDIS_SECRET": "a secret of the fleet"}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    """The URL of a server."""
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")
    server = RedisServer(tmp_path)
    server.start()
    yield f"redis://127.0.0.1:{server.port}/0"
    server.stop()


def keep(port: int | None, fields: dict[str, str]) -> None:
    """Put fields of the fleet's hash into Redis."""
    client = Redis(port=port or 0)
    client.hset("{autoconfig:prod}:state", mapping=fields)  # type: ignore[arg-type]
    client.connection_pool.disconnect()


def test_mirrors_for_those_that_follow(start: Start, run: Run, service: Emulator, redis: str) -> None:
    mirror = ("mirror", "--uri", service.uri, "--redis", redis, "--name", "prod", "--lease", "0.5")
    first = start(*mirror, AUTO_CONFIG_KEY=service.key, **SECRET)
    assert "in term" in first.line("leads")
    watching = start("watch", "--json", "--redis", redis, "--name", "prod", **SECRET)
    id = next(iter(service.environments))
    watching.line(id)
    second = start(*mirror, AUTO_CONFIG_KEY=service.key, **SECRET)
    second.line("ready")
    first.process.terminate()
    assert first.ended() == 143
    second.line("leads")
    service.delete_environment(id)
    watching.line("delete_environment")
    code, out, _ = run("snapshot", "--json", "--name", "prod", AUTO_CONFIG_REDIS=redis, **SECRET)
    assert code == 0
    assert json.loads(out)["environments"].keys() == service.environments.keys()
    assert DEMO_KEY not in first.stdout + second.stdout + first.stderr + second.stderr
    code, out, _ = run("doctor", "--redis", redis, "--name", "prod", "--timeout", "30", **SECRET)
    assert code == 0, out
    assert [line[:4].strip() for line in out.splitlines() if line[0] != " "] == ["ok"] * 6


def test_says_why_it_is_of_no_use(start: Start, service: Emulator, redis: str) -> None:
    mirror = ("mirror", "--uri", service.uri, "--redis", redis, "--name", "prod", "--lease", "0.1")
    running = start(*mirror, AUTO_CONFIG_KEY="rel-wrong", **SECRET)
    for _ in range(2):
        running.line("leads")
        assert "HTTP status 401" in running.line("its stream has ended")
    running.process.terminate()
    running.ended()
    assert "back" not in running.stdout or "did not answer" in running.stdout


def test_doctor_says_what_is_wrong(run: Run, redis: str) -> None:
    code, out, _ = run("doctor", "--redis", redis, "--name", "prod", "--timeout", "5")
    assert code == 1
    assert "FAIL  picture        there is no configuration under this name" in out
    assert "warn  configuration" in out
    code, out, _ = run("doctor", "--redis", "redis://user:pass@127.0.0.1:1", "--name", "prod", "--timeout", "5")
    assert code == 1
    assert "Connection refused" in out
    assert "pass" not in out


def test_doctor_says_that_redis_has_gone_away_meanwhile(tmp_path: Path, start: Start) -> None:
    if not shutil.which("redis-server"):
        pytest.skip("needs redis-server")
    server = RedisServer(tmp_path)
    server.start()
    try:
        keep(server.port, {"#seq": "5", "#owner": "somebody"})
        url = f"redis://127.0.0.1:{server.port}"
        running = start("doctor", "--redis", url, "--name", "prod", "--timeout", "60")
        running.line("at position 5")
    finally:
        server.stop()
    assert running.ended() == 1
    assert "FAIL  leader         no connection to Redis" in running.stdout
    assert running.stderr == ""


def test_doctor_says_that_redis_may_drop_the_configuration(run: Run, redis: str) -> None:
    client = Redis.from_url(redis)
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.connection_pool.disconnect()
    code, out, err = run("doctor", "--redis", redis, "--name", "prod", "--timeout", "5")
    assert (code, err) == (1, "")
    assert "FAIL  eviction" in out
    assert "→ CONFIG SET maxmemory-policy noeviction" in out


def test_doctor_says_that_another_program_has_the_name(run: Run, redis: str) -> None:
    keep(urlsplit(redis).port, {"#seq": "five"})
    code, out, err = run("doctor", "--redis", redis, "--name", "prod", "--timeout", "5")
    assert (code, err) == (1, "")
    assert "its position or its term is not a number" in out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["watch", "--redis", "redis://h"], "--name: is missing"),
        (["watch", "--name", "n"], "--redis: is missing"),
        (["watch", "--redis", "http://h", "--name", "n"], "--redis: must be redis://"),
        (["watch", "--redis", "redis://h", "--name", "{"], "--name: must not be empty, and have no braces"),
        (["watch", "--redis", "redis://h", "--name", "n", "--uri", "http://h"], "cannot be given together with --uri"),
        (["snapshot", "--redis", "redis://h", "--name", "n", "--archive", "f"], "together with --archive"),
        (["mirror", "--redis", "redis://h", "--name", "n", "--lease", "60", "--key", "rel-1"], "at most 10 seconds"),
        (["mirror", "--name", "n", "--key", "rel-1"], "--redis: is missing"),
    ],
    ids=["no-name", "no-url", "scheme", "name", "uri", "archive", "lease", "mirror"],
)
def test_refuses_wrong_arguments(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTO_CONFIG_REDIS", raising=False)
    assert main(arguments) == 2
    assert problem in capsys.readouterr().err
