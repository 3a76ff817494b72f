"""``autoconfig sync``: a file in step, and commands that fail, hang and are slow, against a real stream."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.plain_service import PlainService, environment, put
from support.archives import write_archive
from support.running import state_of
from support.samples import service_environment
from support.waiting import wait_until

from autoconfig import EnvironmentID, SDKKey
from autoconfig.cli import demo, main
from autoconfig.cli.sync import CommandFailedError, Commands
from autoconfig.messages import EnvironmentRep, SDKKeyRep
from autoconfig.testing import Emulator

KEY = "rel-0123456789abcdef0123456789abcdef"
Start = Callable[..., Any]
Run = Callable[..., tuple[int, str, str]]
Check = Callable[..., None]


def rep(id: str, name: str, version: int = 1) -> EnvironmentRep:
    return EnvironmentRep(
        env_id=EnvironmentID(id), env_key=name, proj_key="shop", sdk_key=SDKKeyRep(SDKKey(f"sdk-{id}-{name}")),
        version=version,
    )  # fmt: skip


def lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


@pytest.fixture
def sync(start: Start, service: Emulator) -> Start:
    """Start ``autoconfig sync`` at the service."""

    def sync(*arguments: str, **options: Any) -> Any:
        return start("sync", *arguments, STREAM_URI=service.uri, AUTO_CONFIG_KEY=service.key, **options)

    return sync


def test_keeps_a_file_in_step(sync: Start, service: Emulator, tmp_path: Path, no_secrets: Check) -> None:
    path = tmp_path / "environments.json"
    running = sync("--output", str(path))
    running.line("wrote")
    first = json.loads(path.read_text("utf-8"))
    assert first["environments"].keys() == service.environments.keys()
    assert first["filters"].keys() == service.filters.keys()
    assert first["environments"][demo.STAGING.env_id]["sdkKey"]["value"] == demo.STAGING.sdk_key.value
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    inode = path.stat().st_ino
    service.rotate_sdk_key(demo.STAGING.env_id, demo.NEW_SDK_KEY)
    running.line("wrote")
    assert path.stat().st_ino != inode, "not replaced in one step"
    staging = json.loads(path.read_text("utf-8"))["environments"][demo.STAGING.env_id]
    assert staging["sdkKey"]["value"] == demo.NEW_SDK_KEY
    running.process.send_signal(signal.SIGTERM)
    assert running.ended() == 0
    assert path.exists()
    assert os.listdir(tmp_path) == ["environments.json"]
    no_secrets(running.stdout, running.stderr)


def test_writes_only_what_is_new(sync: Start, service: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    assert sync("--output", str(path), "--once").ended() == 0
    before = path.stat()
    again = sync("--output", str(path), "--once")
    assert again.ended() == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "wrote" not in again.stdout
    path.chmod(0o644)
    assert sync("--output", str(path), "--once").ended() == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_outage_leaves_the_file_alone(sync: Start, service: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    assert sync("--output", str(path), "--once").ended() == 0
    text = path.read_text("utf-8")
    service.close()
    running = sync("--output", str(path), "--once", "--timeout", "0.5")
    assert running.ended() == 4
    assert path.read_text("utf-8") == text


def test_a_file_that_cannot_be_written_is_one_warning_and_tried_again(
    sync: Start, service: Emulator, tmp_path: Path
) -> None:
    directory = tmp_path / "volume"
    directory.mkdir()
    path = directory / "out.json"
    running = sync("--output", str(path))
    running.line("wrote")
    directory.rename(tmp_path / "gone")
    service.set_environment(rep("e9", "new"))
    running.line("added")
    wait_until(lambda: "cannot write the file" in running.stderr)
    directory.mkdir()
    running.line("wrote")
    assert "e9" in json.loads(path.read_text("utf-8"))["environments"]
    assert running.stderr.count("cannot write") == 1
    assert running.process.poll() is None


@pytest.mark.parametrize("form", ["dotenv", "relay-env"])
def test_writes_variables(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = environment("elm", "Elm", projKey="a b", envKey="it's", sdkKey={"value": "sdk-$(id)\n'x"}, sdkKeys=[])
    same = environment("elm2", "Elm", projKey="a-b", envKey="it's", sdkKeys=[], sdkKey={"value": "sdk-2"})
    path = tmp_path / "out"
    with PlainService(put(odd, same)) as service:
        arguments = ["--uri", service.uri, "--key", KEY, "--output", str(path), "--format", form, "--once"]
        assert main(["sync", *arguments]) == 0
    found = dict(line.split("=", 1) for line in lines(path))
    if form == "relay-env":
        assert found["LD_ENV_a_b_it_s_elm2"] == "sdk-2"
    else:
        assert found["LAUNCHDARKLY_SDK_KEY_a_b_it_s_elm2"] == "sdk-2"
        assert found["LAUNCHDARKLY_CLIENT_SIDE_ID_a_b_it_s_elm"] == "elm"
        shown = subprocess.run(
            ["/bin/sh", "-c", f'. "{path}"; printf %s "$LAUNCHDARKLY_SDK_KEY_a_b_it_s_elm"'],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert shown.stdout == r"sdk-$(id)\n'x"


SHOW = 'printf "%s %s %s %s %s\\n" "$AUTOCONFIG_EVENT" "$AUTOCONFIG_ID" "$AUTOCONFIG_PROJECT" \
"$AUTOCONFIG_ENVIRONMENT" "$AUTOCONFIG_SDK_KEY" >>calls; cat >>input; env >>variables'


def test_runs_a_command_for_each_change(start: Start, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    with Emulator([rep("e1", "one"), rep("e2", "two")], key=KEY) as service:
        secrets = {
            "AUTO_CONFIG_KEY": KEY,
            "AUTO_CONFIG_REDIS_SECRET": "hidden-1",
            "AUTO_CONFIG_REDIS": "redis://:hidden-2@h",
        }
        running = start("sync", "--exec", SHOW, STREAM_URI=service.uri, **secrets)
        wait_until(lambda: len(lines(calls)) == 3)
        service.set_environment(rep("e1", "eins"))
        service.delete_environment("e2")
        wait_until(lambda: len(lines(tmp_path / "input")) == 5)
        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 0
    assert lines(calls) == [
        "add_environment e1 shop one sdk-e1-one",
        "add_environment e2 shop two sdk-e2-two",
        "received_all_environments    ",
        "update_environment e1 shop eins sdk-e1-eins",
        "delete_environment e2 shop two sdk-e2-two",
    ]
    documents = [json.loads(line) for line in lines(tmp_path / "input")]
    assert documents[2] == {
        "call": "received_all_environments",
        "environments": {id: {"project": "shop", "environment": name} for id, name in (("e1", "one"), ("e2", "two"))},
        "filters": {},
    }
    assert [one["call"] for one in documents][3:] == ["update_environment", "delete_environment"]
    assert documents[0]["params"]["sdkKey"] == {"value": "sdk-e1-one"}
    variables = (tmp_path / "variables").read_text("utf-8")
    assert KEY not in variables
    assert "hidden" not in variables
    assert not [word for word in ("sdk-e1", KEY) if word in running.stdout + running.stderr]


def test_keys_are_in_no_argument_list(start: Start, tmp_path: Path) -> None:
    command = "cat /proc/self/cmdline /proc/$$/cmdline /proc/$PPID/cmdline >cmdlines"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start("sync", "--once", "--exec", command, STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
        assert running.ended() == 0
    assert not [word for word in ("sdk-e1", KEY) if word in (tmp_path / "cmdlines").read_text("utf-8")]


def test_a_command_that_fails_twice_is_run_again(start: Start, tmp_path: Path) -> None:
    command = f"{SHOW}; [ $AUTOCONFIG_EVENT != add_environment ] || [ $(grep -c add_ calls) -ge 3 ]"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start("sync", "--once", "--exec", command, STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
        assert running.ended() == 0
    assert [line.split()[0] for line in lines(tmp_path / "calls")] == [
        "add_environment", "received_all_environments", "add_environment", "add_environment"
    ]  # fmt: skip
    assert running.stderr.count("the command for add_environment e1 ended with exit code 1; next attempt in") == 2
    assert "sdk-e1" not in running.stderr


def test_a_newer_change_takes_the_place_of_a_failing_one(start: Start, tmp_path: Path) -> None:
    command = f"{SHOW}; [ $AUTOCONFIG_EVENT != update_environment ] || [ $AUTOCONFIG_ENVIRONMENT = newest ]"
    calls = tmp_path / "calls"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start("sync", "--exec", command, STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
        wait_until(lambda: len(lines(calls)) == 2)
        service.set_environment(rep("e1", "failing"))
        wait_until(lambda: len(lines(calls)) >= 3)
        service.set_environment(rep("e1", "newest"))
        wait_until(lambda: "newest" in lines(calls)[-1])
        service.delete_environment("e1")
        wait_until(lambda: "delete" in lines(calls)[-1])
        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 0
    *failing, changed, deleted = [line.split()[3] for line in lines(calls)[2:]]
    assert set(failing) == {"failing"}  # more than one if it is tried again before the newest comes
    assert (changed, deleted) == ("newest", "newest")


def test_the_last_command_that_fails_is_exit_code_1(start: Start) -> None:
    command = "[ $AUTOCONFIG_EVENT != received_all_environments ]"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start("sync", "--once", "--exec", command, STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
        assert running.ended() == 1
    assert "the command for received_all_environments ended with exit code 1; it is not run again" in running.stderr


@pytest.mark.parametrize(
    "stubborn",
    [
        "trap '' TERM; sleep 1000 & echo $! >pid; wait; sleep 1000",
        "(trap '' TERM; exec sleep 60) & echo $! >pid; sleep 60",  # the shell ends politely, and the other does not
    ],
)
def test_a_command_that_hangs_is_killed_with_all_it_started(start: Start, tmp_path: Path, stubborn: str) -> None:
    command = f"[ -e hung ] || {{ touch hung; {stubborn}; }}"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start(
            "sync", "--once", "--exec", command, "--exec-timeout", "3", STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY
        )
        assert running.ended() == 0
    assert "took more than 3 s and was killed" in running.stderr
    assert_gone(int((tmp_path / "pid").read_text()))


def assert_gone(pid: int) -> None:
    """Wait until the process has ended; what nobody has waited for counts."""
    wait_until(lambda: state_of(pid) in {"Z", "X", ""})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_hanging_command_too(start: Start, tmp_path: Path, number: int) -> None:
    command = "echo $$ >pid; sleep 1000"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start("sync", "--exec", command, STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
        wait_until(lambda: lines(tmp_path / "pid"))
        begin = time.monotonic()
        running.process.send_signal(number)
        assert running.ended() == (0 if number == signal.SIGTERM else 130)
        assert time.monotonic() - begin < 30
    assert running.stderr == "", "a command that was stopped has not failed"
    assert_gone(int((tmp_path / "pid").read_text()))


def test_no_command_begins_once_they_are_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call after the one that was ended comes before the manager is closed."""
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a command has begun"))
    commands = Commands("true", 5)
    commands.stop()
    with pytest.raises(CommandFailedError, match="is not run any more"):
        commands.add_environment(rep("e1", "one").to_params())


NEW_PIDS = "unshare --user --map-root-user --pid --fork --kill-child=SIGKILL"
UNSHARED = """
import os, sys
os.execvp("unshare", [*sys.argv[1].split(), sys.executable, "-m", "autoconfig", *sys.argv[2:]])
"""


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*NEW_PIDS.split(), "true"], check=False).returncode != 0,
    reason="needs unshare, and a kernel that permits it",
)
def test_as_process_1_it_ends_on_sigterm_and_leaves_no_zombies(start: Start, tmp_path: Path) -> None:
    """As in a container: nobody else collects what a command has left behind, and signals have no default."""
    runs, names = tmp_path / "runs", itertools.count()
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start(
            "sync", "--exec", "(exec sleep 0.01) & echo >>runs",
            program=("-c", UNSHARED, NEW_PIDS), STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY,
        )  # fmt: skip
        wait_until(lambda: len(lines(runs)) >= 2)
        (sync,) = children(running.process.pid)

        def collected() -> bool:
            service.set_environment(rep("e1", f"name-{next(names)}"))
            return len(lines(runs)) > 8 and len(children(sync)) < 4

        wait_until(collected)
        os.kill(sync, signal.SIGTERM)
        assert running.ended() == 0
    assert running.stderr == ""


def test_a_slow_command_while_changes_pour_in(start: Start, tmp_path: Path) -> None:
    """They run one at a time and in order, and none of the last states is missing."""
    command = f"[ ! -e running ] || touch overlap; touch running; {SHOW}; sleep 0.02; rm running"
    calls = tmp_path / "calls"
    with Emulator([rep("e1", "one")], key=KEY) as service:
        running = start("sync", "--exec", command, STREAM_URI=service.uri, AUTO_CONFIG_KEY=KEY)
        wait_until(lambda: len(lines(calls)) == 2)
        for number in range(60):
            service.set_environment(rep(f"e{number % 3}", f"n{number}"))
        wait_until(lambda: any("n59" in line for line in lines(calls)))
        running.process.send_signal(signal.SIGTERM)
        assert running.ended() == 0
    assert not (tmp_path / "overlap").exists()
    numbers = [int(line.split()[3][1:]) for line in lines(calls)[2:]]
    assert numbers == sorted(numbers) == list(range(60))


def test_command_and_file_together(sync: Start, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    running = sync("--output", str(path), "--exec", SHOW, "--once")
    assert running.ended() == 0
    assert path.exists()
    filters = [line for line in lines(tmp_path / "calls") if line.startswith("add_filter")]
    assert len(filters) == len(demo.FILTERS)


def test_a_rejected_key_ends_it(run: Run, service: Emulator, tmp_path: Path) -> None:
    code, _, err = run("sync", "--output", str(tmp_path / "o"), "--uri", service.uri, AUTO_CONFIG_KEY=KEY)
    assert code == 3
    assert "rejected the key" in err
    assert KEY not in err


def test_follows_an_archive(start: Start, tmp_path: Path) -> None:
    archive, path = tmp_path / "ld.tar.gz", tmp_path / "out.json"
    write_archive(archive, service_environment("e1"))
    running = start("sync", "--archive", str(archive), "--output", str(path))
    running.line("wrote")
    write_archive(archive, service_environment("e1"), service_environment("e2"))
    running.line("wrote")
    assert json.loads(path.read_text("utf-8"))["environments"].keys() == {"e1", "e2"}


@pytest.mark.parametrize("command", ["snapshot", "watch"])
def test_other_commands_take_an_archive(start: Start, tmp_path: Path, command: str) -> None:
    archive = tmp_path / "ld.tar.gz"
    write_archive(archive, service_environment("e1"))
    running = start(command, "--json", "--archive", str(archive))
    assert "e1" in running.line("e1")


@pytest.mark.parametrize("content", [None, b"cut"], ids=["missing", "cut"])
def test_what_to_try_with_an_archive_is_no_doctor(run: Run, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "ld.tar.gz"
    if content:
        path.write_bytes(content)
    code, _, err = run("snapshot", "--archive", str(path), "--timeout", "1")
    assert code in (1, 4)
    assert "try: give a file that autoconfig fetch-archive has downloaded" in err
    assert "doctor" not in err


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "nothing to do"),
        (["--output", "nowhere/file"], "directory does not exist"),
        (["--output", "."], "is a directory"),
        (["--output", "/dev/null"], "is a device or a pipe"),
        (["--output", "f", "--format", "yaml"], "yaml"),
        (["--exec", "true", "--exec-timeout", "0"], "above zero"),
        (["--archive", "f", "--output", "g"], "cannot be given together with --uri"),
    ],
    ids=["nothing", "no-directory", "directory", "device", "format", "timeout", "archive-and-uri"],
)
def test_refuses_wrong_arguments(
    arguments: list[str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["sync", "--key", KEY, "--uri", "http://127.0.0.1:9", *arguments]) == 2
    assert problem in capsys.readouterr().err
