"""The rules of the status: what the reader, called inline, makes of each thing that can happen to a stream."""

from __future__ import annotations

import json
import logging
import queue
import time
from datetime import datetime, timedelta, timezone

import attrs
import pytest
from support.samples import MALFORMED, PUT, RECONNECT, environment_json, patch_bytes
from support.scripted_server import payload
from support.stubs import Attempt, PatientToken, Step, StubConnector, steady_plan

from autoconfig import (
    ContentSource,
    EnvironmentID,
    ErrorInfo,
    ErrorKind,
    KeyRejectedError,
    RefusedEnvironment,
    StreamState,
    StreamStatus,
)
from autoconfig.exceptions import (
    ConnectionFailedError,
    EventTooLargeError,
    MalformedMessageError,
    StreamEndedError,
    UnexpectedStatusError,
)
from autoconfig.status_tracker import StatusTracker
from autoconfig.stream.reader import StreamReader
from autoconfig.stream.source import EventStream

INITIALIZING, VALID, INTERRUPTED, OFF = StreamState
NETWORK, ANSWER, DATA, UNKNOWN = ErrorKind
REFUSED = ConnectionFailedError("refused")
DELETE = b'event: delete\ndata: {"path": "/environments/e1", "version": 2}\n\n'
NEWS = b"event: news\ndata: x\n\n"
SECRET = "rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a"


class Story(PatientToken):
    """
    What a reader's status is while it follows a script.

    Attributes:
        after: The status after each attempt, while the next one is waited for.
        seen: The status whenever :meth:`look` was a step of the script.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tracker = StatusTracker(logging.getLogger("autoconfig"))
        self.after: list[StreamStatus] = []
        self.seen: list[StreamStatus] = []

    def wait(self, timeout: float) -> bool:
        self.after.append(self.tracker.status)
        return super().wait(timeout)

    def look(self) -> None:
        self.seen.append(self.tracker.status)

    def refuse(self) -> Exception:
        """Be an attempt that fails, and look while it is being made."""
        self.look()
        return REFUSED

    def follow(self, *attempts: Attempt, max_event_bytes: int = 2**20) -> list[StreamStatus]:
        """Let a reader follow the script; return the status after each attempt."""
        StreamReader(
            EventStream(StubConnector(self, attempts), max_event_bytes, logging.getLogger("autoconfig")),
            queue.Queue(),
            self,
            steady_plan(),
            self.tracker,
            stop_on_rejection=False,
            on_connected=lambda: None,
            logger=logging.getLogger("autoconfig"),
        ).run()
        return self.after[: len(attempts)]

    def states(self, *attempts: Attempt) -> list[StreamState]:
        """Follow the script; return the state after each attempt."""
        return [status.state for status in self.follow(*attempts)]


@pytest.fixture
def story() -> Story:
    return Story()


def test_the_words_are_launchdarklys() -> None:
    assert [state.value for state in StreamState] == ["INITIALIZING", "VALID", "INTERRUPTED", "OFF"]
    assert [kind.value for kind in ErrorKind] == ["NETWORK_ERROR", "ERROR_RESPONSE", "INVALID_DATA", "UNKNOWN"]


def test_at_first_nothing_is_known(story: Story) -> None:
    status = story.tracker.status
    assert status == StreamStatus(INITIALIZING, status.since)


def test_a_snapshot_cannot_be_changed_and_does_not_change(story: Story) -> None:
    before = story.tracker.status
    story.follow([PUT])
    assert (before.state, before.events_received, before.last_byte_at) == (INITIALIZING, 0, None)
    error = story.tracker.status.last_error
    assert error
    for frozen in before, error:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            frozen.state = VALID  # type: ignore[misc, union-attr]


@pytest.mark.parametrize("attempt", [REFUSED, UnexpectedStatusError(503), [], [MALFORMED]], ids=str)
def test_failures_before_the_first_event_change_no_state(attempt: Attempt, story: Story) -> None:
    """The error is there all the same."""
    assert story.states(attempt, attempt) == [INITIALIZING, INITIALIZING]
    assert story.tracker.status.last_error


@pytest.mark.parametrize("event", [PUT, patch_bytes("e1"), DELETE, NEWS], ids=["put", "patch", "delete", "unknown"])
def test_any_event_makes_it_valid(event: bytes, story: Story) -> None:
    story.follow([event, story.look])
    assert (story.seen[0].state, story.seen[0].events_received) == (VALID, 1)


@pytest.mark.parametrize("piece", [b":\n", b"retry: 5\n\n", b"id: 7\n\n", PUT[:-1]])
def test_what_is_no_event_does_not(piece: bytes, story: Story) -> None:
    """A heartbeat proves that bytes arrive, not that the stream delivers."""
    assert story.states([piece]) == [INITIALIZING]


@pytest.mark.parametrize(
    ("attempt", "kind", "code"),
    [
        (REFUSED, NETWORK, None),
        ([StreamEndedError("silent")], NETWORK, None),
        (UnexpectedStatusError(503), ANSWER, 503),
        (KeyRejectedError(403), ANSWER, 403),
        ([MalformedMessageError("put", "not JSON")], DATA, None),
        ([EventTooLargeError(5)], DATA, None),
        ([RuntimeError(SECRET)], UNKNOWN, None),
        (SystemExit(SECRET), UNKNOWN, None),
    ],
)
def test_a_failure_after_the_first_event_interrupts(
    attempt: Attempt, kind: ErrorKind, code: int | None, story: Story
) -> None:
    """With what happened, in words that hold nothing of what others wrote, and when."""
    begin = datetime.now(timezone.utc)
    status = story.follow([PUT], attempt)[-1]
    assert status.state is INTERRUPTED
    assert status.last_error
    assert (status.last_error.kind, status.last_error.status_code) == (kind, code)
    assert begin <= status.last_error.time <= datetime.now(timezone.utc)
    assert status.last_error.time.utcoffset() == timedelta(0)
    assert status.last_error.message.startswith("unexpected error (") is (kind is UNKNOWN)
    assert SECRET not in repr(status)


def test_an_event_above_the_limit_is_invalid_data(story: Story) -> None:
    (status,) = story.follow([patch_bytes("e" * 500)], max_event_bytes=100)
    assert status.last_error
    assert status.last_error.kind is DATA


def test_the_last_error_outlives_recovery(story: Story) -> None:
    story.follow(UnexpectedStatusError(502), [PUT, story.look])
    (back,) = story.seen
    assert (back.state, back.failed_attempts) == (VALID, 0)
    assert back.last_error == ErrorInfo(ANSWER, "unexpected HTTP status 502", story.after[0].last_error.time, 502)  # type: ignore[union-attr]


@pytest.mark.parametrize("reads", [[PUT + MALFORMED], [PUT, MALFORMED]], ids=["the same read", "the next one"])
def test_an_event_before_a_malformed_one_is_a_success(reads: list[bytes], story: Story) -> None:
    """How the bytes are cut must not matter."""
    assert story.states(reads) == [INTERRUPTED]
    assert story.tracker.status.failed_attempts == 1
    assert story.tracker.status.events_received == 1


def test_a_put_of_which_one_environment_is_malformed_is_a_success(story: Story) -> None:
    """The others were handed over, so whoever waits for VALID must not wait in vain."""
    environments = {"e1": environment_json("e1", 1) | {"sdkKeys": []}, "e2": environment_json("e2", 1)}
    put = {"event": "put", "data": json.dumps({"path": "/", "data": {"environments": environments}})}
    assert story.states([payload(put, "")]) == [INTERRUPTED]
    assert story.tracker.status.events_received == 1


def test_a_request_to_reconnect_is_no_interruption(story: Story) -> None:
    """The connection is gone all the same, and the next one is waited for."""
    (status,) = story.follow([PUT, RECONNECT])
    assert (status.state, status.last_error, status.failed_attempts) == (VALID, None, 0)
    assert status.connected_since is None
    assert status.next_retry_at


def test_an_event_before_a_request_to_reconnect_of_the_same_read_is_a_success(story: Story) -> None:
    """Nothing has failed: how the bytes are cut must not matter."""
    (status,) = story.follow([PUT + RECONNECT])
    assert (status.state, status.last_error) == (VALID, None)


def test_a_failure_after_a_request_to_reconnect_interrupts(story: Story) -> None:
    assert story.states([PUT, RECONNECT], REFUSED) == [VALID, INTERRUPTED]


def test_failed_attempts_are_counted_until_the_next_event(story: Story) -> None:
    """A connection that brought nothing is one of them."""
    story.follow(REFUSED, [b":\n"], REFUSED, [story.look, PUT, story.look, PUT], REFUSED)
    assert [status.failed_attempts for status in story.after[:5]] == [1, 2, 3, 1, 2]
    assert [status.failed_attempts for status in story.seen] == [3, 0]


def test_the_next_attempt_is_known_while_it_is_waited_for(story: Story) -> None:
    begin = datetime.now(timezone.utc)
    statuses = story.follow(REFUSED, REFUSED, REFUSED)
    end = datetime.now(timezone.utc)
    for status, delay in zip(statuses, [1, 2, 4], strict=True):
        assert status.next_retry_at
        assert begin <= status.next_retry_at - timedelta(seconds=delay) <= end


@pytest.mark.parametrize("steps", [[], [PUT]], ids=["refused", "ended"])
def test_no_attempt_is_waited_for_while_one_is_made(steps: list[Step], story: Story) -> None:
    """Connecting may take long; what is shown would lie in the past."""
    story.follow(steps or REFUSED, story.refuse, [story.look])
    assert [status.next_retry_at for status in story.seen] == [None, None]


def test_a_connections_beginning_is_known_while_it_is_there(story: Story) -> None:
    begin = datetime.now(timezone.utc)
    (after,) = story.follow([story.look])
    (during,) = story.seen
    assert during.connected_since
    assert begin <= during.connected_since <= datetime.now(timezone.utc)
    assert after.connected_since is None


def test_events_are_counted_over_all_connections(story: Story) -> None:
    assert [status.events_received for status in story.follow([PUT + NEWS, PUT], REFUSED, [DELETE])] == [3, 3, 4]


def test_a_states_beginning_changes_with_the_state_only(story: Story) -> None:
    begun = story.tracker.status.since
    time.sleep(0.001)  # so that the clock has moved on
    story.follow([PUT, story.look, PUT, story.look], REFUSED, REFUSED)
    assert story.seen[0].since == story.seen[1].since
    assert story.after[0].since == story.after[2].since
    assert begun < story.seen[0].since < story.after[0].since
    assert story.after[0].since.utcoffset() == timedelta(0)


def test_connections_events_and_errors_are_counted_by_kind(story: Story) -> None:
    """Events of a name that is unknown are counted together, so that nobody can fill the memory with names."""
    story.follow([PUT, patch_bytes("e1"), NEWS, b"event: more\ndata: x\n\n", RECONNECT], REFUSED, [DELETE, MALFORMED])
    status = story.tracker.status
    assert status.connections == 2
    assert status.events == {"put": 1, "patch": 1, "delete": 1, "reconnect": 1, "other": 2}
    assert status.events_received == 6
    assert status.errors == {NETWORK: 1, ANSWER: 0, DATA: 1, UNKNOWN: 0}


def test_an_event_that_is_malformed_is_no_event_that_was_received(story: Story) -> None:
    (status,) = story.follow([PUT + MALFORMED])
    assert status.events_received == status.events["put"] == 1
    assert status.errors[DATA] == 1


def test_counts_of_a_snapshot_do_not_change(story: Story) -> None:
    before = story.tracker.status
    story.follow([PUT], REFUSED)
    assert (before.connections, sum(before.events.values()), sum(before.errors.values())) == (0, 0, 0)


def test_content_is_the_last_full_configuration() -> None:
    """Where it came from and when it came, or was saved."""
    tracker = StatusTracker(logging.getLogger("autoconfig"))
    assert (tracker.status.content, tracker.status.content_at) == (ContentSource.NOTHING, None)
    saved = datetime(2026, 1, 2, tzinfo=timezone.utc)
    tracker.configuration_received(ContentSource.CACHE, saved)
    assert (tracker.status.content, tracker.status.content_at) == (ContentSource.CACHE, saved)
    begin = datetime.now(timezone.utc)
    tracker.off()  # what was received before is still handed over
    tracker.configuration_received()
    assert tracker.status.content is ContentSource.STREAM
    assert tracker.status.content_at
    assert begin <= tracker.status.content_at <= datetime.now(timezone.utc)


def test_listeners_are_told_of_refused_environments_once_each_time() -> None:
    tracker = StatusTracker(logging.getLogger("autoconfig"))
    told: list[StreamStatus] = []
    tracker.listeners.add(told.append)
    refused = (RefusedEnvironment(EnvironmentID("e1"), "two anchors", served=True),)
    for change in (), refused, refused, ():
        tracker.refused_changed(change)
    assert [status.refused for status in told] == [refused, ()]


def test_it_can_be_shown_as_json(story: Story) -> None:
    """All of it, without help."""
    story.tracker.refused_changed((RefusedEnvironment(EnvironmentID("e1"), "two anchors", served=False),))
    story.tracker.configuration_received()
    (status,) = story.follow([PUT, UnexpectedStatusError(503)])
    shown = json.loads(json.dumps(status.as_dict()))
    assert set(shown) == {field.name for field in attrs.fields(StreamStatus)}
    assert shown["state"] == "INTERRUPTED"
    assert shown["events"]["put"] == 1
    assert shown["errors"]["ERROR_RESPONSE"] == 1
    assert (shown["content"], shown["refused"]) == ("STREAM", [{"id": "e1", "reason": "two anchors", "served": False}])
    assert (shown["last_error"]["kind"], shown["last_error"]["status_code"]) == ("ERROR_RESPONSE", 503)
    for time_shown, moment in (shown["since"], status.since), (shown["content_at"], status.content_at):
        assert datetime.fromisoformat(time_shown) == moment
        assert time_shown.endswith("+00:00")


def test_nothing_of_a_connection_is_left_when_it_is_off() -> None:
    """Neither its beginning nor the next attempt."""
    tracker = StatusTracker(logging.getLogger("autoconfig"))
    tracker.connected()
    assert tracker.status.connected_since
    tracker.off()
    tracker.connected()
    assert (tracker.status.connected_since, tracker.status.next_retry_at) == (None, None)
