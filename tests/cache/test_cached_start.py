"""``StreamManager(…, cache=…)``: what is served without the service, what is saved; nothing waits for a store."""

from __future__ import annotations

import contextvars
import errno
import logging
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
from cache.stores import DEADLINE, Hanging, Memory
from support.managing import NOWHERE, library_threads, managed, manager_for
from support.recorder import Failing, Recorder
from support.samples import environment, event_item, patch_item, payload_filter, put, put_item, put_of
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

from autoconfig import ContentSource, EnvironmentRegistry, KeyRejectedError, StreamState
from autoconfig.messages import CachedContent, PutContent

SAVED_AT = datetime(2026, 1, 2, tzinfo=timezone.utc)
AT_ONCE = 5.0  # seconds; what takes a fraction of one, also on a busy machine; a store that hangs does so for longer
CACHED = CachedContent(put({"e1": 5, "e2": 5}, {"f1": 5}), SAVED_AT)


def ids(content: PutContent) -> dict[str, int]:
    return {id: rep.version for id, rep in (*content.environments.items(), *content.filters.items())}


def delete_item(path: str, version: int) -> dict[str, Any]:
    return event_item("delete", {"path": path, "version": version})


@pytest.fixture
def silent() -> Iterator[ScriptedServer]:
    """A service that accepts and never says anything."""
    with ScriptedServer([]) as server:
        yield server


def warnings(caplog: pytest.LogCaptureFixture, text: str = "cache") -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return [one for one in found if text in one]


@pytest.mark.parametrize("url", [NOWHERE, None], ids=["refused", "silent"])
def test_serves_the_cache_while_the_service_is_away(url: str | None, silent: ScriptedServer) -> None:
    registry, store = EnvironmentRegistry(), Memory(CACHED)
    with managed(url or silent.url, registry, cache=store) as manager:
        assert manager.status.content is ContentSource.NOTHING
        manager.start()
        manager.wait_until_ready(DEADLINE)
        assert sorted(registry.environments) == ["e1", "e2"]
        status = manager.status
        assert (status.content, status.content_at) == (ContentSource.CACHE, SAVED_AT)
        assert status.state is StreamState.INITIALIZING
        assert status.as_dict()["content"] == "CACHE"
    assert not store.saved, "saved before the first put"
    assert store.threads == {"autoconfig-cache"}


def test_without_a_cache_there_is_neither_thread_nor_copy(recorder: Recorder) -> None:
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder) as manager:
        manager.start()
        recorder.wait_for("received_all_environments")
        assert "autoconfig-cache" not in library_threads()
        assert not manager._dispatcher._observers


def test_converges_when_the_service_is_back(recorder: Recorder) -> None:
    """Each kind: same, changed, lower, gone, new, refused."""
    before = put({"same": 5, "changed": 5, "lower": 5, "gone": 5, "refused": 5})
    contradiction = {
        "envId": "refused",
        "sdkKey": {"value": "sdk-1"},
        "sdkKeys": [{"value": "sdk-2"}],
        "version": 9,
    }
    items = [environment("same", 5).to_json() | {"version": 2}, environment("changed", 6).to_json()]
    items += [environment("lower", 4).to_json(), environment("new", 1).to_json(), contradiction]
    script = [[{"status": 503}], [put_of(*items)]]
    store = Memory(CachedContent(before))
    with ScriptedServer(script) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        wait_until(lambda: manager.status.content is ContentSource.STREAM)
    assert sorted(recorder.names[:5]) == ["add_environment"] * 5
    later = {(name, getattr(what, "env_id", what)) for name, what in recorder.calls[6:]}
    assert later == {
        ("update_environment", "changed"), ("update_environment", "lower"), ("add_environment", "new"),
        ("delete_environment", "gone"), ("received_all_environments", None),
    }  # fmt: skip
    assert [(one.id, one.served) for one in manager.status.refused] == [("refused", True)]
    assert ids(store.saved[-1]) == {"same": 2, "changed": 6, "lower": 4, "new": 1, "refused": 5}


def test_a_put_that_comes_before_a_slow_load_wins(recorder: Recorder) -> None:
    store = Hanging(CACHED)
    contradiction = {"envId": "e2", "sdkKey": {"value": "sdk-1"}, "sdkKeys": [{"value": "sdk-2"}]}
    with ScriptedServer([[put_of(environment("e1", 1).to_json(), contradiction)]]) as server:
        with managed(server.url, recorder, cache=store) as manager:
            manager.start()
            recorder.wait_for("received_all_environments")
            assert not store.saved
            store.released.set()
            wait_until(lambda: store.saved)
            assert manager.status.content is ContentSource.STREAM
        assert recorder.names == ["add_environment", "received_all_environments"]
        assert ids(store.saved[-1]) == {"e1": 1, "e2": 5}, "what was refused lost its entry in the cache"


def test_saves_what_was_accepted_with_its_versions(recorder: Recorder) -> None:
    story = [
        put_item("e1", "e2", version=3), patch_item("e1", 4), patch_item("e1", 2), patch_item("e3", 7),
        delete_item("/environments/e2", 9),
        event_item("patch", {"path": "/filters/f1", "data": payload_filter("f1", 2).to_json()}),
        event_item("patch", {"path": "/filters/f2", "data": payload_filter("f2", 2).to_json()}),
        delete_item("/filters/f2", 3), patch_item("last"),
    ]  # fmt: skip
    store = Memory()
    with ScriptedServer([story]) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        recorder.wait_for("add_environment", matching=lambda params: params.env_id == "last")
    assert ids(store.saved[-1]) == {"e1": 4, "e3": 7, "f1": 2, "last": 1}
    assert store.saved[-1].environments["e1"] == environment("e1", 4)


def test_saves_what_the_handler_refuses_to_take() -> None:
    store, handler = Memory(), Failing(lambda *_: ValueError("no"))
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, handler, cache=store) as manager:
        manager.start()
        handler.wait_for("received_all_environments")
    assert ids(store.saved[-1]) == {"e1": 1}


def test_saves_at_most_every_fifth_of_a_second_and_the_newest_state(recorder: Recorder) -> None:
    story = [put_item("e1"), *({**patch_item("e1", n)} for n in range(2, 200))]
    paced = [item for one in story for item in (one, {"sleep_ms": 5})]
    store = Memory()
    with ScriptedServer([paced]) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        recorder.wait_for("update_environment", matching=lambda params: params.identifiers.env_name == "e1 v199")
        wait_until(lambda: ids(store.saved[-1]) == {"e1": 199})
        pauses = [after - before for before, after in zip(store.times, store.times[1:], strict=False)]
        assert len(pauses) >= 2
        assert min(pauses) >= 0.2


def test_close_saves_once_more(recorder: Recorder) -> None:
    store = Memory()
    with ScriptedServer([[put_item("e1"), {"sleep_ms": 50}, patch_item("e1", 2)]]) as server:
        manager = manager_for(server.url, recorder, cache=store)
        manager.start()
        recorder.wait_for("update_environment")
        begin = time.monotonic()
        assert manager.close()
        assert time.monotonic() - begin < AT_ONCE
    assert ids(store.saved[-1]) == {"e1": 2}
    assert not library_threads()


def test_an_unchanged_configuration_is_not_saved_again(recorder: Recorder) -> None:
    store = Memory()
    script = [[put_item("e1"), {"close": "eof"}]] * 2
    with ScriptedServer(script) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        server.wait_for_requests(3)
        wait_until(lambda: manager.status.queued_batches == 0)
    assert len(store.saved) <= 3


@pytest.mark.usefixtures("real_limits")
@pytest.mark.parametrize("what", ["load", "save"])
def test_nothing_waits_for_a_store_that_hangs(recorder: Recorder, what: str, caplog: pytest.LogCaptureFixture) -> None:
    store = Hanging(loading=what == "load")
    with ScriptedServer([[put_item("e1"), *(patch_item("e1", n) for n in range(2, 500))]]) as server:
        manager = manager_for(server.url, recorder, cache=store)
        manager.start()
        recorder.wait_for("update_environment", matching=lambda params: params.identifiers.env_name == "e1 v499")
        assert store.entered.wait(DEADLINE)
        begin = time.monotonic()
        assert not manager.close(0.5)
        assert 0.4 < time.monotonic() - begin < AT_ONCE
        wait_until(lambda: warnings(caplog, "Gave up waiting for the cache"))
        store.released.set()


@pytest.mark.usefixtures("real_limits")
def test_close_does_not_wait_for_a_load_if_there_is_nothing_to_save(caplog: pytest.LogCaptureFixture) -> None:
    store = Hanging(CACHED)
    recorder = Recorder()
    manager = manager_for(NOWHERE, recorder, cache=store)
    manager.start()
    assert store.entered.wait(DEADLINE)
    begin = time.monotonic()
    assert manager.close()
    assert time.monotonic() - begin < AT_ONCE
    assert not warnings(caplog)
    store.released.set()
    wait_until(lambda: not library_threads())
    assert not recorder.calls, "the cache was served after close()"


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/secret"), "OSError, No space left on device"),
        (OSError(errno.EROFS, "x"), "OSError, Read-only file system"),
        (ValueError("sdk-e1"), "ValueError"),
        (SystemExit("sdk-e1"), "SystemExit"),
    ],
    ids=["full", "read-only", "value", "exit"],
)
def test_a_failing_save_is_one_warning_and_tried_again(
    recorder: Recorder, error: BaseException, shown: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("autoconfig.cache_thread._FIRST_DELAY", 0.01)
    caplog.set_level(logging.INFO, "autoconfig")
    store = Memory()
    store.error = error
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        wait_until(lambda: len(store.times) >= 3)
        store.error = None
        wait_until(lambda: store.saved)
        wait_until(lambda: "can be saved again" in caplog.text)
    assert warnings(caplog) == [f"Cannot save to the cache: {shown}; retrying"]
    assert "sdk-e1" not in caplog.text
    assert manager.status.content is ContentSource.STREAM


def test_close_tries_a_failing_save_once_more(recorder: Recorder) -> None:
    store = Memory()
    store.error = OSError(errno.ENOSPC, "full")
    with ScriptedServer([[put_item("e1")]]) as server:
        manager = manager_for(server.url, recorder, cache=store)
        manager.start()
        wait_until(lambda: store.times)
        store.error = None
        assert manager.close()
    assert ids(store.saved[-1]) == {"e1": 1}


def test_a_load_that_fails_is_tried_again_while_the_service_is_away(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoconfig.cache_thread._FIRST_DELAY", 0.01)
    store = Memory(ConnectionError("sdk-e1"))
    with managed(NOWHERE, recorder, cache=store) as manager:
        manager.start()
        wait_until(lambda: store.loads >= 3)
        assert manager.status.content is ContentSource.NOTHING
        store.cached = CACHED
        recorder.wait_for("received_all_environments")
    assert warnings(caplog, "cache") == ["Cannot load from the cache: ConnectionError; retrying"]


def test_a_load_that_fails_ends_with_the_first_put(recorder: Recorder) -> None:
    store = Memory(ConnectionError())
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        wait_until(lambda: store.saved)
        assert ids(store.saved[0]) == {"e1": 1}


def test_a_rejected_key_still_serves_the_cache() -> None:
    class Slow(Memory):
        def load(self) -> CachedContent | None:
            time.sleep(0.3)  # the service is quicker; nothing tells of the rejection before the cache was served
            return super().load()

    registry, store = EnvironmentRegistry(), Slow(CACHED)
    with ScriptedServer([[{"status": 401}]]) as server, managed(server.url, registry, cache=store) as manager:
        manager.start()
        with pytest.raises(KeyRejectedError):
            manager.join(DEADLINE)
        assert sorted(registry.environments) == ["e1", "e2"]
        status = manager.status
        assert (status.state, status.content) == (StreamState.OFF, ContentSource.CACHE)
        wait_until(lambda: not library_threads())
    assert not store.saved


def test_a_dropped_manager_leaves_no_thread() -> None:
    store = Memory(CACHED)
    manager = manager_for(NOWHERE, cache=store)
    manager.start()
    wait_until(lambda: store.loads)
    with pytest.warns(ResourceWarning):
        del manager
    wait_until(lambda: not library_threads())


def test_threads_do_not_inherit_context_variables() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    variable.set("of a request")
    seen: list[str] = []

    class Looking(Memory):
        def load(self) -> CachedContent | None:
            seen.append(variable.get())
            return None

    with managed(NOWHERE, cache=Looking()) as manager:
        manager.start()
        wait_until(lambda: seen)
    assert seen == ["nothing"]


def test_close_from_inside_a_save_and_inside_a_callback(recorder: Recorder) -> None:
    class Closing(Memory):
        def save(self, content: PutContent) -> None:
            manager.close(0.5)
            super().save(content)

    store = Closing()
    with ScriptedServer([[put_item("e1")]]) as server:
        manager = manager_for(server.url, recorder, cache=store)
        manager.start()
        wait_until(lambda: store.saved)
        manager.close()
    wait_until(lambda: not library_threads())


@pytest.mark.parametrize("wrong", [object(), type("Half", (), {"load": None, "save": print})()], ids=["none", "half"])
def test_refuses_what_is_no_store(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"cache\.load"):
        manager_for(cache=wrong)


def test_deletions_and_patches_of_what_was_refused(recorder: Recorder) -> None:
    contradiction = {"envId": "e1", "sdkKey": {"value": "sdk-1"}, "sdkKeys": [{"value": "sdk-2"}]}
    other = {**contradiction, "envId": "e2"}
    story = [put_of(contradiction, other, environment("e3", 1).to_json()), delete_item("/environments/e1", 9)]
    story += [event_item("patch", {"path": "/environments/e2", "data": environment("e2", 3).to_json()})]
    store = Memory(CachedContent(put({"e1": 5, "e2": 5})))
    script = [[{"sleep_ms": 300}, *story]]
    with ScriptedServer(script) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        recorder.wait_for("update_environment")
    assert ids(store.saved[-1]) == {"e2": 3, "e3": 1}


def test_what_is_refused_later_keeps_what_was_accepted(recorder: Recorder) -> None:
    contradiction = {"envId": "e1", "sdkKey": {"value": "sdk-1"}, "sdkKeys": [{"value": "sdk-2"}], "version": 2}
    story = [put_item("e1", "e2"), put_of(contradiction, environment("e2", 2).to_json())]
    store = Memory()
    with ScriptedServer([story]) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        recorder.wait_for("update_environment")
    assert ids(store.saved[-1]) == {"e1": 1, "e2": 2}


def test_a_part_of_the_configuration_is_not_saved(recorder: Recorder) -> None:
    """Messages before the first put of this process are a part only; what was saved before is better."""
    store = Memory()
    with ScriptedServer([[patch_item("e1")]]) as server, managed(server.url, recorder, cache=store) as manager:
        manager.start()
        recorder.wait_for("add_environment")
    assert not store.saved
