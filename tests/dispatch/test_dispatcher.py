"""The dispatcher called inline: which calls the messages lead to, and in which order."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from support.dispatching import ALL, Inline, added, deleted, dispatch, filter_added, filter_deleted, updated
from support.recorder import Failing, Recorder
from support.samples import delete, delete_filter, environment, patch, patch_filter, put

from autoconfig import FilterID
from autoconfig.messages import Message, PatchMessageData, PutContent
from autoconfig.stream.cancel import CancelToken


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


def test_an_entry_under_another_id_is_not_applied(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    dispatch(recorder, put({"e1": 1}, foreign={"e2": "e9"}))
    assert recorder.calls == [added("e1", 1), ALL]
    assert levels(caplog, "e9") == ["WARNING"]


def test_an_entry_under_another_id_counts_as_listed(recorder: Recorder) -> None:
    """So what is known under that id stays, its version too."""
    dispatch(recorder, put({"e2": 3}), put(foreign={"e2": "e9"}), patch("e2", 3), patch("e2", 4))
    assert recorder.calls == [added("e2", 3), ALL, ALL, updated("e2", 4)]


def test_a_patch_under_another_id_is_ignored(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    dispatch(recorder, PatchMessageData("e1", environment("e9")))
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
    dispatch(recorder, patch("", 1), delete("", 2), delete_filter("", 1))
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


def test_each_change_of_a_single_item_is_a_line(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    """What does not count is a DEBUG line instead."""
    dispatch(recorder, patch("e1", 1), patch("e1", 1), delete("e1", 2), patch_filter("f1", 1), delete_filter("f1", 2))
    assert [record.getMessage() for record in caplog.records if record.levelname == "INFO"] == [
        "Received a change of environment 'e1' ('' 'e1 v1')",
        "Received a deletion of environment 'e1'",
        "Received a change of filter 'f1 v1' (project 'shop')",
        "Received a deletion of filter 'f1'",
    ]
    assert levels(caplog, "Ignored a change of 'e1': version 1 <= 1") == ["DEBUG"]


@pytest.mark.parametrize(
    ("before", "content", "warned"),
    [
        (put({"e1": 1}), put(), True),
        (put({"e1": 1}), put(filters={"f1": 1}), True),
        (put(filters={"f1": 1}), put(), False),
        (put(), put(), False),
        (put({"e1": 1}), put({"e2": 1}), False),
        (put({"e1": 1}), put(refused={"e1": "x"}), False),
        (put({"e1": 1}), put(foreign={"e1": "x"}), False),
    ],
)
def test_a_put_that_empties_a_set_that_was_not_empty_is_a_warning(
    before: PutContent, content: PutContent, warned: bool, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    dispatch(recorder, before, content)
    assert levels(caplog, "contains no environments") == ["WARNING"] * warned


def test_what_was_deleted_one_by_one_is_an_empty_set(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    dispatch(recorder, put({"e1": 1}), delete("e1", 2), put())
    assert levels(caplog, "contains no environments") == []


@pytest.mark.parametrize("place", range(6))
def test_no_call_begins_after_cancel(place: int) -> None:
    """In the middle of a put, whichever call it is that cancels."""
    token = CancelToken()

    class Cancelling(Recorder):
        def _record(self, name: str, argument: Any) -> None:
            super()._record(name, argument)
            if len(self.calls) == place + 4:
                token.cancel()

    handler = Cancelling()
    Inline(handler, token).deliver(
        put({"e1": 1, "e2": 1}, {"f1": 1}), put({"e2": 2, "e3": 1}, {"f2": 1}), put(), patch("e9", 1)
    )
    assert len(handler.calls) == place + 4


def test_no_call_begins_after_a_call_that_cancels_and_fails() -> None:
    token = CancelToken()

    def fail(*_: object) -> BaseException:
        token.cancel()
        return ValueError("no room")

    handler = Failing(fail)
    Inline(handler, token).deliver(put({"e1": 1, "e2": 1}))
    assert handler.calls == [added("e1", 1)]


def test_a_cancelled_dispatcher_calls_nothing_at_all(recorder: Recorder) -> None:
    token = CancelToken()
    token.cancel()
    Inline(recorder, token).deliver(put({"e1": 1}))
    assert recorder.calls == []


def test_a_fault_in_one_message_does_not_keep_the_others_back(
    recorder: Recorder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the library, which is said with its traceback."""
    line = Inline(recorder)
    faulty = patch("e1", 1)
    patch_one = line.dispatcher._patch

    def fail_for_one(message: PatchMessageData, verbose: bool) -> None:
        if message is faulty:
            raise LookupError("a fault")
        patch_one(message, verbose)

    monkeypatch.setattr(line.dispatcher, "_patch", fail_for_one)
    line.deliver(faulty, patch("e2", 1))
    assert recorder.calls == [added("e2", 1)]
    assert levels(caplog, "Failed to handle a message") == ["ERROR"]


# Environments that are refused


class Told(Recorder):
    """A handler that wants to know what is refused."""

    def environment_refused(self, id: str, reason: str) -> None:
        self._record("environment_refused", (id, reason))


REASON = "sdkKeys does not hold the key of sdkKey.value"


def refused_patch(id: str, version: int, reason: str = REASON) -> PatchMessageData:
    return PatchMessageData(id, environment(id, version), reason)


def refused(line: Inline) -> dict[str, tuple[str, bool]]:
    return {one.id: (one.reason, one.served) for one in line.status.status.refused}


def test_the_rest_of_a_put_is_applied_and_what_is_refused_is_told() -> None:
    handler = Told()
    line = Inline(handler)
    line.deliver(put({"e1": 1}, refused={"e2": REASON}))
    assert handler.calls == [added("e1", 1), ("environment_refused", ("e2", REASON)), ALL]
    assert refused(line) == {"e2": (REASON, False)}


def test_what_is_refused_and_known_stays_as_it_is() -> None:
    """State and version, in a put and in a patch; it is still served."""
    handler = Told()
    line = Inline(handler)
    line.deliver(put({"e1": 5, "e2": 1}), put({"e2": 1}, refused={"e1": REASON}))
    assert refused(line) == {"e1": (REASON, True)}
    line.deliver(refused_patch("e1", 9), patch("e1", 5))
    assert [call for call in handler.calls if call[0] != "environment_refused"] == [
        added("e1", 5),
        added("e2", 1),
        ALL,
        ALL,
    ]
    line.deliver(patch("e1", 6))
    assert handler.calls[-1] == updated("e1", 6)


def test_a_put_of_which_all_was_refused_is_no_full_configuration() -> None:
    """Whereas one without any environment is one, and so is one whose entries are foreign."""
    handler = Told()
    Inline(handler).deliver(put(filters={"f1": 1}, refused={"e1": REASON}))
    assert handler.calls == [filter_added("f1", 1), ("environment_refused", ("e1", REASON))]
    for content in (put(), put(foreign={"e1": "e9"}), put({"e2": 1}, refused={"e1": REASON})):
        dispatch(other := Recorder(), content)
        assert other.calls[-1] == ALL


def test_each_put_replaces_the_list() -> None:
    line = Inline(Told())
    line.deliver(put({"e1": 1}, refused={"e2": REASON}), put({"e1": 1}, refused={"e3": "x"}))
    assert refused(line) == {"e3": ("x", False)}
    line.deliver(put({"e1": 1}))
    assert refused(line) == {}


@pytest.mark.parametrize("message", [patch("e1", 9), delete("e1", 9), patch("e1", 1), delete("e1", 1)])
def test_a_usable_message_or_a_deletion_clears_an_entry(message: Message) -> None:
    line = Inline(Told())
    line.deliver(put({"e0": 1}, refused={"e1": REASON, "e2": REASON}), message)
    assert refused(line) == {"e2": (REASON, False)}


@pytest.mark.parametrize("message", [patch("e2", 9), delete("e2", 9), patch_filter("e1", 1), delete_filter("e1", 1)])
def test_other_messages_do_not(message: Message) -> None:
    line = Inline(Told())
    line.deliver(put({"e0": 1}, refused={"e1": REASON}), message)
    assert refused(line) == {"e1": (REASON, False)}


def test_a_refused_patch_adds_to_the_list() -> None:
    line = Inline(Told())
    line.deliver(put({"e1": 1}, refused={"e2": "x"}), refused_patch("e1", 2))
    assert refused(line) == {"e2": ("x", False), "e1": (REASON, True)}


def test_what_is_refused_is_one_error_line_however_many_there_are(caplog: pytest.LogCaptureFixture) -> None:
    """It names ten of them; it is not said again as long as nothing changes."""
    line = Inline(Recorder())
    line.deliver(put({"e0": 1}, refused={f"r{n:02}": REASON for n in range(25)}))
    (text,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert text.startswith(f"Refused 25 environments, whose keys contradict each other: 'r00': {REASON}; 'r01': ")
    assert text.endswith(f"'r09': {REASON}; and 15 more")
    line.deliver(put({"e0": 1}, refused={f"r{n:02}": REASON for n in range(25)}))
    assert levels(caplog, "Refused") == ["ERROR"]
    line.deliver(refused_patch("e0", 2))
    assert caplog.records[-1].getMessage().endswith(f"'e0' (still served): {REASON}")


def test_what_is_refused_is_told_once_and_again_with_another_reason() -> None:
    handler = Told()
    Inline(handler).deliver(
        put({"e0": 1}, refused={"e1": "x"}), put({"e0": 1}, refused={"e1": "x"}), put({"e0": 1}, refused={"e1": "y"})
    )
    told = [argument for name, argument in handler.calls if name == "environment_refused"]
    assert told == [("e1", "x"), ("e1", "y")]


def test_a_handler_that_fails_to_hear_of_it_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Unwilling(Recorder):
        def environment_refused(self, id: str, reason: str) -> None:
            raise SystemExit(3)

    handler = Unwilling()
    line = Inline(handler)
    line.deliver(put({"e1": 1}, refused={"e2": REASON}))
    assert handler.calls == [added("e1", 1), ALL]
    assert line.status.pending_retries == 0
    assert levels(caplog, "The handler failed in environment_refused 'e2'") == ["ERROR"]


def test_what_is_foreign_is_not_refused() -> None:
    line = Inline(handler := Told())
    line.deliver(put({"e1": 1}, foreign={"e2": "e9"}), PatchMessageData("e3", environment("e9")))
    assert refused(line) == {}
    assert "environment_refused" not in handler.names
