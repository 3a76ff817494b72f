"""The dispatcher called inline: which calls the messages lead to, and in which order."""

from __future__ import annotations

import logging

import pytest
from support.dispatching import ALL, Inline, added, deleted, dispatch, filter_added, filter_deleted, updated
from support.recorder import Recorder
from support.samples import delete, delete_filter, environment, patch, patch_filter, put

from autoconfig import (
    DeleteMessageData,
    EnvironmentID,
    FilterID,
    PatchMessageData,
    PutContent,
    PutMessageData,
)


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "autoconfig")


def levels(caplog: pytest.LogCaptureFixture, part: str) -> list[str]:
    """Return the levels of the lines that hold a text."""
    return [record.levelname for record in caplog.records if part in record.getMessage()]


def test_the_order_within_a_put(recorder: Recorder) -> None:
    """Environments added and updated as listed, environments deleted, filters added, filters deleted, then the end."""
    line = Inline(recorder)
    line.deliver(put({"e1": 1, "e2": 1, "e3": 1}, {"f1": 1, "f2": 1}))
    ones = [*[added(id, 1) for id in ("e1", "e2", "e3")], *[filter_added(id, 1) for id in ("f1", "f2")], ALL]
    assert recorder.calls == ones
    line.deliver(put({"e4": 1, "e2": 2}, {"f3": 1}))
    assert recorder.calls[len(ones) :] == [
        added("e4", 1),
        updated("e2", 2),
        deleted("e1"),
        deleted("e3"),
        filter_added("f3", 1),
        filter_deleted("f1"),
        filter_deleted("f2"),
        ALL,
    ]


def test_every_put_ends_with_received_all_environments(recorder: Recorder) -> None:
    """An empty one and one that changes nothing too."""
    dispatch(recorder, put(), put({"e1": 1}), put({"e1": 1}))
    assert recorder.calls == [ALL, added("e1", 1), ALL, ALL]


@pytest.mark.parametrize("path", ["", "/environments", "//", "/x", " /"])
def test_a_put_of_another_path_is_ignored(path: str, recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    dispatch(recorder, put({"e1": 1}), PutMessageData(path, put({"e2": 1}).data))
    assert recorder.calls == [added("e1", 1), ALL]
    assert levels(caplog, "unknown path") == ["INFO"]


@pytest.mark.parametrize("message", [PatchMessageData("/flags/e1"), DeleteMessageData("/flags/e1", 9)])
def test_other_paths_of_single_items_are_a_debug_line(
    message: PatchMessageData | DeleteMessageData, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    dispatch(recorder, message)
    assert recorder.calls == []
    assert levels(caplog, "unknown path") == ["DEBUG"]


def test_an_entry_under_another_id_is_not_applied(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    content = PutContent({EnvironmentID("e1"): environment("e1"), EnvironmentID("e2"): environment("e9")})
    dispatch(recorder, PutMessageData("/", content))
    assert recorder.calls == [added("e1", 1), ALL]
    assert levels(caplog, "e9") == ["WARNING"]


def test_an_entry_under_another_id_counts_as_listed(recorder: Recorder) -> None:
    """So what is known under that id stays, its version too."""
    content = PutContent({EnvironmentID("e2"): environment("e9", 5)})
    dispatch(recorder, put({"e2": 3}), PutMessageData("/", content), patch("e2", 3), patch("e2", 4))
    assert recorder.calls == [added("e2", 3), ALL, ALL, updated("e2", 4)]


def test_a_patch_under_another_id_is_ignored(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    dispatch(recorder, PatchMessageData("/environments/e1", environment("e9")))
    assert recorder.calls == []
    assert levels(caplog, "e9") == ["WARNING"]


def test_single_items_come_and_go(recorder: Recorder) -> None:
    dispatch(recorder, patch("e1", 1), patch("e1", 2), delete("e1", 3), patch_filter("f1", 1), delete_filter("f1", 2))
    assert recorder.calls == [
        added("e1", 1),
        updated("e1", 2),
        deleted("e1"),
        filter_added("f1", 1),
        filter_deleted("f1"),
    ]


def test_what_is_not_newer_is_ignored(recorder: Recorder) -> None:
    dispatch(recorder, patch("e1", 5), patch("e1", 5), patch("e1", 4), delete("e1", 5), delete("e1", 4))
    assert recorder.calls == [added("e1", 5)]


def test_a_put_ignores_what_is_not_newer(recorder: Recorder) -> None:
    dispatch(recorder, patch("e1", 5), put({"e1": 4}), put({"e1": 5}))
    assert recorder.calls == [added("e1", 5), ALL, ALL]


def test_any_version_of_what_is_not_known_is_an_addition(recorder: Recorder) -> None:
    dispatch(recorder, patch("e1", 0), patch("e2", -7))
    assert recorder.calls == [added("e1", 0), added("e2", -7)]


def test_a_tombstone_keeps_older_versions_out(recorder: Recorder) -> None:
    """Also that of something that was never there, and one that a second deletion has raised."""
    dispatch(recorder, delete("e1", 5), patch("e1", 5), delete("e1", 8), patch("e1", 7), patch("e1", 9))
    assert recorder.calls == [added("e1", 9)]


def test_a_tombstone_keeps_older_versions_out_of_a_put(recorder: Recorder) -> None:
    dispatch(recorder, put({"e1": 1}), delete("e1", 5), put({"e1": 4}), put({"e1": 6}))
    assert recorder.calls == [added("e1", 1), ALL, deleted("e1"), ALL, added("e1", 6), ALL]


def test_a_put_forgets_what_it_does_not_list(recorder: Recorder) -> None:
    """Versions and tombstones: a lower version is new again. Nothing is deleted twice."""
    dispatch(recorder, patch("e1", 5), delete("e2", 5), put(), patch("e1", 1), patch("e2", 1))
    assert recorder.calls == [added("e1", 5), deleted("e1"), ALL, added("e1", 1), added("e2", 1)]


def test_a_filters_update_makes_no_call_but_counts(recorder: Recorder) -> None:
    line = Inline(recorder)
    line.deliver(patch_filter("f1", 1), patch_filter("f1", 5), put(filters={"f1": 7}), delete_filter("f1", 7))
    assert recorder.calls == [filter_added("f1", 1), ALL]
    line.deliver(delete_filter("f1", 8))
    assert recorder.calls[2:] == [filter_deleted("f1")]


def test_environments_and_filters_of_one_id_are_two_things(recorder: Recorder) -> None:
    dispatch(recorder, patch("x", 1), patch_filter("x", 1), delete("x", 2), delete_filter("x", 2))
    assert recorder.calls == [added("x", 1), filter_added("x", 1), deleted("x"), filter_deleted("x")]


def test_an_empty_id_is_an_id(recorder: Recorder) -> None:
    dispatch(recorder, patch("", 1), delete("", 2), DeleteMessageData("/filters/", 1))
    assert recorder.calls == [added("", 1), deleted("")]


def test_messages_of_several_batches_come_in_order(recorder: Recorder) -> None:
    Inline(recorder).deliver(*[patch("e1", version) for version in range(1, 6)], batch_size=2)
    assert recorder.calls == [added("e1", 1), *[updated("e1", version) for version in range(2, 6)]]


def test_each_put_is_summed_up_in_one_line(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    dispatch(recorder, put({"e1": 1, "e2": 1}, {"f1": 1}), put({"e1": 2}, {"f1": 2}))
    texts = [record.getMessage() for record in caplog.records if "Received all" in record.getMessage()]
    counts = "2 environments and 1 filters, 3 changes", "1 environments and 1 filters, 3 changes"
    assert [text.partition(": ")[2] for text in texts] == list(counts)


def test_it_tells_which_method_is_running() -> None:
    """So that a close() that gives up can say what it waited for."""
    seen: list[str | None] = []

    class Looking(Recorder):
        def add_environment(self, params: object) -> None:
            seen.append(line.calls.running)

        def delete_filter(self, id: FilterID) -> None:
            seen.append(line.calls.running)

    line = Inline(Looking())
    line.deliver(put({"e1": 1}, {"f1": 1}), put({"e1": 1}))
    assert seen == ["add_environment", "delete_filter"]
    assert line.calls.running is None
