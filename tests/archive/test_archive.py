"""``ArchiveSource``: the archive of the relay's offline mode, followed, and archives that were tampered with."""

from __future__ import annotations

import errno
import gzip
import io
import logging
import math
import os
import tarfile
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.archives import archive_bytes, archive_files, environment_files, replace, with_checksum, write_archive
from support.managing import library_threads
from support.recorder import Failing, Recorder
from support.samples import service_environment
from support.waiting import wait_until

from autoconfig import (
    ContentSource,
    EnvironmentRegistry,
    ErrorKind,
    HandlerErrors,
    StreamManager,
    StreamState,
    archive,
    archive_reader,
)
from autoconfig.archive import ArchiveSource, BadArchiveError
from autoconfig.archive_reader import read_archive
from autoconfig.messages import EnvironmentRep

POLL = 0.02
DEADLINE = 30.0
Follow = Callable[..., ArchiveSource]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "offline.tar.gz"


@pytest.fixture
def follow(path: Path, recorder: Recorder) -> Iterator[Follow]:
    """Follow the archive; closed at the end."""
    sources: list[ArchiveSource] = []

    def follow(**options: Any) -> ArchiveSource:
        sources.append(ArchiveSource(path, options.pop("handler", recorder), poll=POLL, **options))
        sources[-1].start()
        return sources[-1]

    yield follow
    for source in sources:
        assert source.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever a source looks whether its file has changed."""
    looks: list[int] = []
    signature = archive._ArchiveStream._signature
    monkeypatch.setattr(archive._ArchiveStream, "_signature", lambda self: looks.append(1) or signature(self))
    return looks


def wait_for_more(looks: list[int]) -> None:
    """Wait until the file was looked at several times more."""
    seen = len(looks)
    wait_until(lambda: len(looks) > seen + 5, "more looks at the file")


def calls(recorder: Recorder) -> list[tuple[str, Any]]:
    """Return the calls since the last look, with ids for arguments."""
    found = [(name, getattr(what, "env_id", what)) for name, what in recorder.calls]
    recorder.calls.clear()
    return found


def wait_for_put(recorder: Recorder) -> list[tuple[str, Any]]:
    recorder.wait_for("received_all_environments")
    return [one for one in calls(recorder) if one[1] is not None]


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_adds_what_is_in_it(path: Path, follow: Follow, recorder: Recorder, mode: str) -> None:
    write_archive(path, service_environment("e1", 3), service_environment("e2"), mode=mode)
    source = follow()
    source.wait_until_ready(DEADLINE)
    assert source.connected.result(DEADLINE) is None
    assert recorder.calls[0][1] == environment_params("e1", 3)
    assert calls(recorder)[1:] == [("add_environment", "e2"), ("received_all_environments", None)]
    status = source.status
    assert (status.state, status.content) == (StreamState.VALID, ContentSource.STREAM)
    assert repr(source) == f"<ArchiveSource {path}>"
    assert isinstance(source, StreamManager)


def environment_params(id: str, version: int) -> Any:
    return EnvironmentRep.from_json(service_environment(id, version)).to_params()


def test_follows_it_as_the_relay_does(path: Path, follow: Follow, recorder: Recorder) -> None:
    """Version or data id differs: update; missing: delete; both equal: nothing, whatever the content."""
    everything = [service_environment(id, 5) for id in ("same", "newer", "older", "data", "gone")]
    write_archive(path, *everything)
    follow()
    assert len(wait_for_put(recorder)) == 5
    changed = archive_files(
        service_environment("same", 5, envName="other"), service_environment("newer", 6),
        service_environment("older", 4), service_environment("new", 1),
    )  # fmt: skip
    changed |= environment_files(service_environment("data", 5), "2")
    replace(path, archive_bytes(with_checksum(changed)))
    assert sorted(wait_for_put(recorder)) == sorted([
        ("update_environment", "newer"), ("update_environment", "older"), ("update_environment", "data"),
        ("add_environment", "new"), ("delete_environment", "gone"),
    ])  # fmt: skip
    write_archive(path, *everything)  # the old one again
    assert sorted(wait_for_put(recorder)) == sorted([
        ("update_environment", "newer"), ("update_environment", "older"), ("update_environment", "data"),
        ("delete_environment", "new"), ("add_environment", "gone"),
    ])  # fmt: skip
    write_archive(path)
    assert {name for name, _ in wait_for_put(recorder)} == {"delete_environment"}


def test_is_read_again_only_when_it_changes(
    path: Path, follow: Follow, recorder: Recorder, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    monkeypatch.setattr(archive, "read_archive", lambda *a: read.append(1) or read_archive(*a))
    write_archive(path, service_environment("e1"))
    follow()
    recorder.wait_for("received_all_environments")
    wait_for_more(looks)
    assert len(read) == 1


def test_waits_for_a_file_that_is_not_there_yet(
    path: Path, follow: Follow, recorder: Recorder, looks: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    source = follow()
    wait_until(lambda: source.status.last_error)
    error = source.status.last_error
    assert error is not None
    assert error.kind is ErrorKind.NETWORK_ERROR
    assert error.message == f"cannot read the archive {path}: No such file or directory"
    wait_for_more(looks)
    write_archive(path, service_environment("e1"))
    recorder.wait_for("received_all_environments")
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    assert source.status.state is StreamState.VALID


def test_a_file_that_goes_away_changes_nothing(path: Path, follow: Follow, recorder: Recorder) -> None:
    write_archive(path, service_environment("e1"))
    source = follow()
    assert wait_for_put(recorder)
    path.unlink()
    wait_until(lambda: source.status.state is StreamState.INTERRUPTED)
    write_archive(path, service_environment("e1", 2))
    assert wait_for_put(recorder) == [("update_environment", "e1")]
    assert source.status.state is StreamState.VALID


def test_refused_environments_stay(path: Path, follow: Follow, recorder: Recorder) -> None:
    write_archive(path, service_environment("e1", 3), service_environment("e2"))
    source = follow()
    assert wait_for_put(recorder)
    bad = service_environment("e1", 4, sdkKeys=[{"value": "sdk-other"}])
    write_archive(path, bad, service_environment("e2", 2))
    assert wait_for_put(recorder) == [("update_environment", "e2")]
    assert [(one.id, one.served) for one in source.status.refused] == [("e1", True)]
    assert source.status.last_error  # as for a put of the service
    assert source.status.last_error.kind is ErrorKind.INVALID_DATA
    write_archive(path, service_environment("e1", 3), service_environment("e2", 2))
    assert wait_for_put(recorder) == []
    assert not source.status.refused


def test_a_failing_handler_is_called_again(path: Path) -> None:
    handler = Failing(lambda *_: ValueError("not now") if len(handler.calls) == 1 else None)
    write_archive(path, service_environment("e1"))
    errors = HandlerErrors(initial_delay=0.01)
    with ArchiveSource(path, handler, poll=POLL, handler_errors=errors):
        handler.wait_for("received_all_environments")
        handler.wait_for_calls(3)
    assert handler.names == ["add_environment", "received_all_environments", "add_environment"]


def test_close_ends_it_at_once(path: Path, recorder: Recorder) -> None:
    write_archive(path, service_environment("e1"))
    source = ArchiveSource(path, recorder, poll=60)
    source.start()
    recorder.wait_for("received_all_environments")
    begin = time.monotonic()
    assert source.close()
    assert time.monotonic() - begin < 4
    assert not library_threads()
    assert source.status.state is StreamState.OFF


def test_close_interrupts_reading(path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    big = {"big.bin": bytes(64 * 2**20), **archive_files(service_environment("e1"))}
    replace(path, archive_bytes(big, mode="w"))
    monkeypatch.setattr(archive_reader, "_CHUNK", 8)  # then it takes many seconds
    source = ArchiveSource(path, recorder)
    source.start()
    wait_until(lambda: source.status.state is StreamState.INITIALIZING)
    begin = time.monotonic()
    assert source.close()
    assert time.monotonic() - begin < 4
    assert not recorder.calls


def test_close_interrupts_a_long_list_of_directories(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_reader, "_MAX_FILES", math.inf)
    reading = threading.Event()
    monkeypatch.setattr(archive, "read_archive", lambda *arguments: reading.set() or read_archive(*arguments))
    replace(path, gzip.compress(member("d", tarfile.DIRTYPE).tobuf() * 400_000, 1))
    source = ArchiveSource(path, recorder)
    source.start()
    assert reading.wait(DEADLINE)
    assert source.close()


def test_what_was_only_in_the_way_is_tried_again(
    path: Path, follow: Follow, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk for temporary files, or no descriptor left: the same file can be read later."""
    errors = [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EMFILE, "Too many open files")]

    def read(*arguments: Any) -> Any:
        if errors:
            raise errors.pop()
        return read_archive(*arguments)

    write_archive(path, service_environment("e1"))
    monkeypatch.setattr(archive, "read_archive", read)
    source = follow()
    assert wait_for_put(recorder) == [("add_environment", "e1")]
    error = source.status.last_error
    assert error is not None
    assert error.kind is ErrorKind.NETWORK_ERROR
    assert error.message == f"cannot read the archive {path}: No space left on device"
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1


def test_a_full_disk_is_no_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_reader, "_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(OSError, match="nowhere"):
        read_archive(io.BytesIO(archive_bytes(GOOD)))


def test_a_change_of_directory_is_no_other_file(
    path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(path, service_environment("e1"))
    monkeypatch.chdir(path.parent)
    source = ArchiveSource(path.name, recorder, poll=POLL)
    monkeypatch.chdir("/")
    with source:
        assert wait_for_put(recorder) == [("add_environment", "e1")]


def test_a_registry_follows_one(path: Path) -> None:
    write_archive(path, service_environment("e1"))
    registry = EnvironmentRegistry()
    with ArchiveSource(path, registry, poll=POLL) as source:
        source.wait_until_ready(DEADLINE)
        assert registry.get("e1") is not None


GOOD = archive_files(service_environment("e1", 9))


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.size, found.linkname = kind, size, "/etc/passwd"
    return found


def with_file(name: str) -> bytes:
    return archive_bytes(with_checksum({**GOOD, name: b"{}"}))


def huge_member() -> bytes:
    """Return an archive with a member of 1 GB: its content follows, and gzip makes little of it."""
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as zipped:
        zipped.write(archive_bytes(GOOD, mode="w")[:-10240])
        zipped.write(member("big-data.json", size=2**30).tobuf(tarfile.GNU_FORMAT))
        for _ in range(64):
            zipped.write(bytes(2**20))
    return out.getvalue()


def huge_header() -> bytes:
    """Return an archive with a header for a long name of 1 GB, which tarfile would read into memory."""
    header = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, 2**30).tobuf(tarfile.GNU_FORMAT)
    return gzip.compress(header + bytes(2**20), 1)


def many_files() -> bytes:
    return gzip.compress(b"".join(member(f"{n}.txt").tobuf() for n in range(1000)), 1)


def many_directories() -> bytes:
    return gzip.compress(member("d", tarfile.DIRTYPE).tobuf() * 1000, 1)


BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "damaged or truncated"),
    "not-an-archive": (lambda: b"sdk-e1" * 5000, "damaged or truncated"),
    "cut": (lambda: archive_bytes(GOOD)[:-40], "damaged or truncated"),
    "cut-tar": (lambda: archive_bytes(GOOD, mode="w")[:700], "damaged or truncated"),
    "flipped": (lambda: archive_bytes({**GOOD, "e1.json": GOOD["e1.json"].replace(b"key-e1", b"kex-e1")}), "checksum"),
    "wrong-checksum": (lambda: archive_bytes({**GOOD, "checksum.md5": bytes(16)}), "checksum is wrong"),
    "hex-checksum": (
        lambda: archive_bytes({**GOOD, "checksum.md5": GOOD["checksum.md5"].hex().encode()}), "checksum is wrong"
    ),
    "no-checksum": (lambda: archive_bytes({"e1.json": GOOD["e1.json"]}), "no checksum.md5"),
    "more-files": (lambda: archive_bytes({**GOOD, "e2-data.json": b"{}"}), "checksum is wrong"),
    "climbing": (lambda: with_file("../e9.json"), "another directory"),
    "climbing-inside": (lambda: with_file("a/../../e9.json"), "another directory"),
    "absolute": (lambda: with_file("/tmp/e9.json"), "another directory"),
    "nested": (lambda: with_file("more/e9.json"), "another directory"),
    "backslash": (lambda: with_file("..\\e9.json"), "another directory"),
    "symlink": (lambda: archive_bytes(GOOD, more=[member("e2.json", tarfile.SYMTYPE)]), "not a regular file"),
    "hard-link": (lambda: archive_bytes(GOOD, more=[member("e2.json", tarfile.LNKTYPE)]), "not a regular file"),
    "device": (lambda: archive_bytes(GOOD, more=[member("e2.json", tarfile.CHRTYPE)]), "not a regular file"),
    "fifo": (lambda: archive_bytes(GOOD, more=[member("e2.json", tarfile.FIFOTYPE)]), "not a regular file"),
    "twice": (lambda: archive_bytes(GOOD, more=[member("e1.json")]), "two files with the same name"),
    "huge-member": (huge_member, "a file of more than"),
    "huge-header": (huge_header, "header of absurd size"),
    "many-files": (many_files, "more than 500 files"),
    "many-directories": (many_directories, "more than 500 files"),
    "not-json": (lambda: archive_bytes(with_checksum({"e1.json": b"{sdk-e1"})), "not JSON"),
    "wrong-type": (
        lambda: archive_bytes(with_checksum({"e1.json": b'{"env":{"envId":"e1","version":"sdk-e1"},"dataId":""}'})),
        "version must be",
    ),
    "no-environment": (lambda: archive_bytes(with_checksum({"e1.json": b'{"dataId":"1"}'})), "no environment"),
    "no-object": (lambda: archive_bytes(with_checksum({"e1.json": b"[1]"})), "must be an object"),
    "deep": (lambda: archive_bytes(with_checksum({"e1.json": b"[" * 100_000})), "nested too deeply"),
    "large-environment": (
        lambda: archive_bytes(with_checksum({"e1.json": b" " * (2**20 + 1)})), "the file of an environment with more"
    ),
}  # fmt: skip


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_reader, "_MAX_FILES", 500)


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_archive_is_refused_and_takes_no_memory(bad: str, few_files: None, tmp_path: Path) -> None:
    make, reason = BAD[bad]
    data = io.BytesIO(make())
    before = sorted(os.listdir(tmp_path))
    tracemalloc.start()
    try:
        with pytest.raises(BadArchiveError) as raised:
            read_archive(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reason in str(raised.value)
    assert "sdk-e1" not in str(raised.value)
    assert peak < 40 * 2**20
    assert sorted(os.listdir(tmp_path)) == before
    assert not os.path.exists("/tmp/e9.json")


@pytest.mark.parametrize("bad", ["cut", "wrong-checksum", "climbing", "huge-member", "not-json", "wrong-type"])
def test_a_bad_archive_changes_nothing(
    path: Path, follow: Follow, recorder: Recorder, looks: list[int], bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_archive(path, service_environment("e1"), service_environment("e2"))
    source = follow()
    assert len(wait_for_put(recorder)) == 2
    replace(path, BAD[bad][0]())
    wait_until(lambda: source.status.state is StreamState.INTERRUPTED)
    error = source.status.last_error
    assert error is not None
    assert error.kind is ErrorKind.INVALID_DATA
    wait_for_more(looks)
    assert not recorder.calls
    assert source.status.failed_attempts == 1, "the same file was read again"
    write_archive(path, service_environment("e1"), service_environment("e2", 2))
    assert wait_for_put(recorder) == [("update_environment", "e2")]
    errors = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert len(errors) == 1
    assert "sdk-" not in errors[0]


def test_the_whole_may_have_a_size_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_reader, "MAX_BYTES", 20_000)
    files = {**GOOD, "a.bin": bytes(15_000), "b.bin": bytes(15_000)}
    with pytest.raises(BadArchiveError, match="more than 20000 bytes"):
        read_archive(io.BytesIO(archive_bytes(files)))


@pytest.mark.parametrize("prefix", ["", "./"])
def test_reads_what_tar_makes_of_a_directory(prefix: str) -> None:
    files = {f"{prefix}{name}": data for name, data in GOOD.items()}
    top = [member(".", tarfile.DIRTYPE)] if prefix else []
    environments, data_ids = read_archive(io.BytesIO(archive_bytes(files, more=top)))
    assert environments["e1"].to_json() == service_environment("e1", 9)
    assert data_ids == {"e1": "1"}


def test_large_flag_data_is_not_held_in_memory() -> None:
    files = with_checksum({**GOOD, "e1-data.json": b" " * (100 * 2**20)})
    data = io.BytesIO(archive_bytes(files))
    tracemalloc.start()
    try:
        read_archive(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * 2**20


@pytest.mark.parametrize("poll", [0, -1, float("nan")])
def test_refuses_an_absurd_interval(path: Path, recorder: Recorder, poll: float) -> None:
    with pytest.raises(ValueError, match="poll"):
        ArchiveSource(path, recorder, poll=poll)


def test_refuses_what_is_no_handler(path: Path) -> None:
    with pytest.raises(TypeError, match="six methods"):
        ArchiveSource(path, object())  # type: ignore[arg-type]


def test_a_directory_is_no_archive(path: Path, follow: Follow) -> None:
    path.mkdir()
    source = follow()
    wait_until(lambda: source.status.last_error)
    assert "not a regular file" in str(source.status.last_error)
