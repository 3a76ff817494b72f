"""The file of the last known configuration: whole or not there, private, and bound to its scope and key."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cache.samples import CONTENT, KEY, SECRETS
from support.samples import put
from support.waiting import wait_until

from autoconfig import cache
from autoconfig.cache import FileStore
from autoconfig.messages import CachedContent, PutContent

SCOPE = "the shop's profile"
Make = Callable[..., FileStore]


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Make stores of the same file, key and scope, unless told otherwise."""

    def make(**changed: object) -> FileStore:
        options = {"scope": SCOPE, "encryption_key": request.param, **changed}
        return FileStore(tmp_path / "cache", **options)  # type: ignore[arg-type]

    return make


def content_of(cached: CachedContent | None) -> PutContent:
    assert cached is not None
    return cached.content


def warning(caplog: pytest.LogCaptureFixture) -> str:
    """Return the one WARNING that there was."""
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "autoconfig.cache"
    return record.getMessage()


def test_returns_all_that_was_saved(make: Make) -> None:
    before = datetime.now(timezone.utc)
    make().save(CONTENT)
    cached = make().load()
    assert content_of(cached) == CONTENT
    assert cached is not None
    assert cached.saved_at is not None
    assert before.timestamp() - 0.001 <= cached.saved_at.timestamp() <= time.time() + 0.001
    assert cached.saved_at.tzinfo is timezone.utc


def test_tells_an_empty_configuration_from_none(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    assert make().load() is None
    make().save(PutContent())
    assert content_of(make().load()) == PutContent()
    assert not caplog.records


def test_only_its_owner_can_read_it_and_nothing_else_is_left(make: Make, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        make().save(CONTENT)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["cache"]


def test_an_encrypted_file_shows_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "cache", scope=SCOPE, encryption_key=KEY)
    store.save(CONTENT)
    data = (tmp_path / "cache").read_bytes()
    assert not [secret for secret in (*SECRETS, SCOPE, "envId") if secret.encode() in data]
    store.save(CONTENT)
    assert (tmp_path / "cache").read_bytes()[40:] != data[40:], "the nonce is used twice"


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def nested(data: bytes) -> bytes:
    """Return a file that is whole, and that no parser takes."""
    return rewritten(b"[" * 100_000)


def rewritten(body: bytes) -> bytes:
    """Return what somebody who knows the form can write without knowing a key."""
    store = FileStore("-", scope=SCOPE)
    return store._seal(body)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) // 2],
    "head-only": lambda data: data[: data.index(b"\n") + 1],
    "empty": lambda data: b"",
    "flipped": flipped,
    "appended": lambda data: data + b"}",
    "nested": nested,
    "not-json": lambda data: rewritten(b"\xff{"),
    "another-form": lambda data: rewritten(json.dumps([1, {"content": None}]).encode()),
    "wrong-types": lambda data: rewritten(b'{"savedAt":1,"content":{"environments":{"e1":{"version":"sdk-e1"}}}}'),
    "absurd-time": lambda data: rewritten(b'{"savedAt":1e300,"content":{}}'),
    "newer": lambda data: data.replace(b"cache 1", b"cache 2", 1),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_no_cache_and_one_warning(
    make: Make, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    make().save(CONTENT)
    path = tmp_path / "cache"
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    assert make().load() is None
    text = warning(caplog)
    assert str(path) in text
    assert not [secret for secret in SECRETS if secret in text]
    assert caplog.records[0].exc_info is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [({"scope": "another"}, "scope"), ({"encryption_key": KEY + "!"}, "encryption key|another key")],
    ids=["scope", "key"],
)
def test_another_scope_or_key_is_no_cache(
    make: Make, changed: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    make().save(CONTENT)
    assert make(**changed).load() is None
    assert any(one in warning(caplog) for one in reason.split("|"))


def test_refuses_a_planted_file_that_is_not_encrypted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Else whoever can write to the directory could give the application keys of his own."""
    FileStore(tmp_path / "cache", scope=SCOPE).save(CONTENT)
    assert FileStore(tmp_path / "cache", scope=SCOPE, encryption_key=KEY).load() is None
    assert "not encrypted" in warning(caplog)


def test_says_that_a_key_is_missing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FileStore(tmp_path / "cache", scope=SCOPE, encryption_key=KEY).save(CONTENT)
    assert FileStore(tmp_path / "cache", scope=SCOPE).load() is None
    assert "there is no encryption key" in warning(caplog)


def test_follows_no_link(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make().save(CONTENT)
    (tmp_path / "cache").rename(tmp_path / "elsewhere")
    (tmp_path / "cache").symlink_to("elsewhere")
    assert make().load() is None
    assert os.strerror(errno.ELOOP) in warning(caplog)


@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_reads_regular_files_only_and_never_blocks(
    make: Make, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cache"
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    assert make().load() is None
    assert warning(caplog)


def test_reads_no_file_of_another_user(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make().save(CONTENT)
    foreign = os.stat_result([stat.S_IFREG | 0o600, 0, 0, 1, os.geteuid() + 1, 0, 0, 0, 0, 0])
    monkeypatch.setattr(os, "fstat", lambda descriptor: foreign)
    assert make().load() is None
    assert "another user" in warning(caplog)


def test_warns_of_a_file_that_others_can_read(make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make().save(CONTENT)
    (tmp_path / "cache").chmod(0o640)
    assert content_of(make().load()) == CONTENT
    assert "by others" in warning(caplog)


def test_reads_and_writes_nothing_larger_than_allowed(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    make().save(CONTENT)
    small = make(max_bytes=500)
    assert small.load() is None
    assert "max_bytes" in warning(caplog)
    with pytest.raises(OSError, match="max_bytes"):  # the log names the reason of an OSError, and of no other
        small.save(CONTENT)
    assert content_of(make().load()) == CONTENT


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make().save(CONTENT)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        make().save(put({"e9": 1}))
    assert os.listdir(tmp_path) == ["cache"]
    assert content_of(make().load()) == CONTENT


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_directory_that_cannot_be_synchronized(make: Make, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Some file systems cannot do that; an error of the disk is one."""
    fsync = os.fsync

    def fsync_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(code, "directory")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync_files)
    if code == errno.EIO:
        with pytest.raises(OSError, match="directory"):
            make().save(CONTENT)
    else:
        make().save(CONTENT)
    assert content_of(make().load()) == CONTENT


def test_sweeps_what_killed_processes_left_an_hour_ago(make: Make, tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".cache-a.tmp", ".cache-b.tmp", ".cache2-c.tmp"))
    for path in (old, new, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (time.time() - 4000, time.time() - 4000))
    make().save(CONTENT)
    assert not old.exists()
    assert new.exists()
    assert other.exists()


def test_sweeps_beside_a_name_with_brackets(tmp_path: Path) -> None:
    left = tmp_path / ".cache[1]-a.tmp"
    left.touch()
    os.utime(left, (0, 0))
    FileStore(tmp_path / "cache[1]", scope=SCOPE).save(CONTENT)
    assert not left.exists()


def test_a_change_of_directory_does_not_move_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers and daemons change theirs after the program has begun."""
    monkeypatch.chdir(tmp_path)
    store = FileStore("cache", scope=SCOPE)
    monkeypatch.chdir("/")
    store.save(CONTENT)
    assert (tmp_path / "cache").is_file()
    assert content_of(store.load()) == CONTENT


# Forks of one process, because a program of its own for each would import everything anew.
WRITERS = """
import os, signal, sys
from autoconfig.cache import FileStore
from support.samples import put
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody has to wait for those that are killed
store = FileStore(sys.argv[1], scope="s", encryption_key=sys.argv[2] or None)
for size in sys.stdin:
    if os.fork() == 0:
        content = put({f"e{n}": n for n in range(int(size))})
        store.save(content)
        print(os.getpid(), flush=True)
        while True:
            store.save(content)
"""


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "encrypted"])
def test_writers_that_are_killed_leave_a_file_that_can_be_read(
    tmp_path: Path, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten writers, two at a time, are killed while a reader reads all the time."""
    path = tmp_path / "cache"
    store = FileStore(path, scope="s", encryption_key=key or None)
    sizes = 50, 800
    contents = [put({f"e{n}": n for n in range(size)}) for size in sizes]
    stop, loaded = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            cached = store.load()
            loaded.append(cached is not None and cached.content in contents)

    variables = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    command, pipe = [sys.executable, "-c", WRITERS, str(path), key], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=variables, text=True) as process:
        assert process.stdin
        assert process.stdout

        def start(size: int) -> int:
            print(size, file=process.stdin, flush=True)
            return int(process.stdout.readline())  # type: ignore[union-attr]

        writers = [start(sizes[0])]
        reader = threading.Thread(target=read)
        reader.start()
        try:
            for number in range(10):
                writers.append(start(sizes[number % 2]))
                seen = len(loaded)
                wait_until(lambda seen=seen: len(loaded) >= seen + 3, "three more loads")  # type: ignore[misc]
                os.kill(writers.pop(0), signal.SIGKILL)
        finally:
            stop.set()
            reader.join()
            for writer in writers:
                os.kill(writer, signal.SIGKILL)
            process.stdin.close()
    assert all(loaded), f"{loaded.count(False)} of {len(loaded)} readings failed: {caplog.text}"
    assert not caplog.records


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"scope": ""}, ValueError),
        ({"scope": 1}, TypeError),
        ({"encryption_key": "short"}, ValueError),
        ({"encryption_key": b"0123456789abcdef"}, TypeError),
        ({"max_bytes": "1"}, TypeError),
        ({"max_bytes": 0}, ValueError),
    ],
    ids=["no-scope", "scope", "short-key", "key", "max-bytes", "no-bytes"],
)
def test_refuses_wrong_arguments(make: Make, changed: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        make(**changed)
    assert "short" not in str(raised.value).replace("too short", "")


def test_shows_no_secret(make: Make) -> None:
    assert not [secret for secret in SECRETS if secret in repr(make())]


def test_plain_files_need_no_cryptography(tmp_path: Path) -> None:
    program = f"""
import sys
sys.modules["cryptography"] = None
from autoconfig.cache import FileStore
from autoconfig.messages import PutContent
store = FileStore({str(tmp_path / "cache")!r}, scope="s")
store.save(PutContent())
assert store.load()
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_says_what_is_missing_for_encryption(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    monkeypatch.delitem(sys.modules, "autoconfig.encryption", raising=False)
    with pytest.raises(ImportError, match=r"ld-autoconfig\[cache\]"):
        cache.FileStore("-", scope="s", encryption_key=KEY)


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_device_or_a_pipe_is_not_replaced(through_a_link: bool, tmp_path: Path) -> None:
    """As root that would succeed, even with /dev/null."""
    path = pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if through_a_link:
        (path := tmp_path / "link").symlink_to(pipe)
    with pytest.raises(FileExistsError):
        FileStore(path, scope="main").save(CONTENT)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert len(list(tmp_path.iterdir())) == 1 + through_a_link
