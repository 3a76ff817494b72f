"""What comes from a cache is provisional: the stream's word counts, whatever the versions; equal content is no call."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dispatching import ALL, QUIET, Inline, added, deleted, filter_added, filter_deleted, updated
from support.recorder import Recorder
from support.samples import delete, delete_filter, environment, patch, patch_filter, payload_filter, put

from autoconfig import ContentSource, HandlerErrors
from autoconfig.environments import EnvironmentParams, FilterParams
from autoconfig.messages import CachedContent, EnvironmentRep, Message, PatchMessageData, PutContent

SAVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def cached(
    environments: dict[str, int] | None = None, filters: dict[str, int] | None = None, *, saved_at: datetime = SAVED_AT
) -> CachedContent:
    return CachedContent(put(environments, filters), saved_at)


def as_version(content: int, version: int) -> EnvironmentRep:
    """Return an environment with the content of one version and the number of another."""
    return msgspec.structs.replace(environment("e1", content), version=version)


def put_of(rep: EnvironmentRep) -> PutContent:
    return PutContent({"e1": rep})


@pytest.fixture
def inline(recorder: Recorder) -> Inline:
    return Inline(recorder)


def test_is_added_and_makes_ready(recorder: Recorder, inline: Inline) -> None:
    inline.deliver(cached({"e1": 3}, {"f1": 2}))
    assert recorder.calls == [added("e1", 3), filter_added("f1", 2), ALL]
    status = inline.status.status
    assert (status.content, status.content_at) == (ContentSource.CACHE, SAVED_AT)


def test_an_empty_cache_makes_ready_too(recorder: Recorder, inline: Inline) -> None:
    inline.deliver(cached())
    assert recorder.calls == [ALL]


def test_is_ignored_after_a_put(recorder: Recorder, inline: Inline) -> None:
    """The slow load: the service was quicker."""
    inline.deliver(put({"e1": 1}), cached({"e1": 5, "e2": 1}))
    assert recorder.calls == [added("e1", 1), ALL]
    assert inline.status.status.content is ContentSource.STREAM


@pytest.mark.parametrize("version", [1, 5, 9], ids=["lower", "equal", "higher"])
def test_equal_content_is_no_call_whatever_the_version(recorder: Recorder, inline: Inline, version: int) -> None:
    inline.deliver(cached({"e1": 5}), put_of(as_version(5, version)))
    assert recorder.calls == [added("e1", 5), ALL, ALL]
    recorder.calls.clear()
    inline.deliver(PatchMessageData("e1", as_version(6, version)), PatchMessageData("e1", as_version(7, version + 1)))
    assert recorder.calls == [updated("e1", 7)], "the put's version is not what counts"


@pytest.mark.parametrize("version", [-(2**63), 1, 5, 9, 2**63 - 1])
def test_other_content_is_an_update_whatever_the_version(recorder: Recorder, inline: Inline, version: int) -> None:
    inline.deliver(cached({"e1": 5}), put_of(as_version(4, version)))
    assert recorder.calls == [added("e1", 5), ALL, updated("e1", 4), ALL]
    recorder.calls.clear()
    inline.deliver(PatchMessageData("e1", as_version(6, version)))
    assert not recorder.calls, "the put's version is not what counts"


def test_each_environment_of_a_put_is_compared(recorder: Recorder, inline: Inline) -> None:
    before = cached({"same": 5, "changed": 5, "gone": 5, "refused": 5, "foreign": 5, "lower": 5})
    inline.deliver(
        before,
        put({"same": 5, "changed": 6, "lower": 4, "new": 1}, refused={"refused": "why"}, foreign={"foreign": "x"}),
    )
    assert sorted(recorder.calls[7:], key=str) == sorted(
        [updated("changed", 6), updated("lower", 4), added("new", 1), deleted("gone"), ALL], key=str
    )
    assert [(one.id, one.served) for one in inline.status.status.refused] == [("refused", True)]


def test_what_was_refused_is_compared_when_it_can_be_used(recorder: Recorder, inline: Inline) -> None:
    inline.deliver(cached({"e1": 5, "e2": 5}), put({}, refused={"e1": "why", "e2": "why"}))
    recorder.calls.clear()
    inline.deliver(patch("e1", 3), put({"e1": 3, "e2": 5}))
    assert recorder.calls == [updated("e1", 3), ALL]


def test_what_was_refused_stays_in_an_empty_put_no_more(recorder: Recorder, inline: Inline) -> None:
    inline.deliver(cached({"e1": 5}), put({}, refused={"e1": "why"}), put({}))
    assert recorder.calls == [added("e1", 5), ALL, deleted("e1"), ALL]


def test_a_changed_filter_is_deleted_and_added(recorder: Recorder, inline: Inline) -> None:
    """There is no call for a change; of a filter that the stream knows none is made, as in the relay."""
    inline.deliver(cached(filters={"f1": 5, "f2": 5, "f3": 5}), put(filters={"f1": 5, "f2": 4}))
    assert recorder.calls[4:] == [filter_deleted("f2"), filter_added("f2", 4), filter_deleted("f3"), ALL]


@pytest.mark.parametrize("version", [1, 5, 9])
def test_a_patch_before_the_put_counts_whatever_its_version(recorder: Recorder, inline: Inline, version: int) -> None:
    inline.deliver(cached({"e1": 5}, {"f1": 5}), PatchMessageData("e1", as_version(6, version)), patch_filter("f1", 4))
    assert recorder.calls[3:] == [updated("e1", 6), filter_deleted("f1"), filter_added("f1", 4)]
    recorder.calls.clear()
    inline.deliver(put_of(as_version(7, version)))
    assert recorder.calls == [filter_deleted("f1"), ALL], "the stream's own versions count from here on"


@pytest.mark.parametrize("version", [-1, 1, 5, 9])
def test_a_deletion_before_the_put_counts_whatever_its_version(
    recorder: Recorder, inline: Inline, version: int
) -> None:
    inline.deliver(cached({"e1": 5}, {"f1": 5}), delete("e1", version), delete_filter("f1", version))
    assert recorder.calls[3:] == [deleted("e1"), filter_deleted("f1")]
    recorder.calls.clear()
    inline.deliver(put({"e1": version}, {"f1": version + 1}))
    assert recorder.calls == [filter_added("f1", version + 1), ALL], "the tombstones count from here on"


def test_what_the_stream_said_before_a_slow_load_stays(recorder: Recorder, inline: Inline) -> None:
    inline.deliver(patch("e1", 2), delete("e2", 1), cached({"e1": 5, "e2": 5, "e3": 5}))
    assert recorder.calls == [added("e1", 2), added("e3", 5), ALL]


def test_a_second_put_is_an_ordinary_one(recorder: Recorder, inline: Inline) -> None:
    inline.deliver(cached({"e1": 5}), put({"e1": 4}), put({"e1": 3}), put({"e1": 6}))
    assert recorder.calls == [added("e1", 5), ALL, updated("e1", 4), ALL, ALL, updated("e1", 6), ALL]


def test_the_cache_is_not_kept_in_memory(inline: Inline) -> None:
    inline.deliver(cached({"e1": 5, "e2": 5}, {"f1": 5}), put({"e1": 5}))
    dispatcher = inline.dispatcher
    assert not dispatcher._environments._provisional
    assert not dispatcher._filters._provisional


class Failing(Recorder):
    """Raises in the calls whose numbers it is given, and keeps the picture that the others add up to."""

    def __init__(self, failing: Callable[[int], bool]) -> None:
        super().__init__()
        self.environments: dict[str, EnvironmentParams] = {}
        self.filters: dict[str, FilterParams] = {}
        self._failing = failing
        self._count = 0

    def _record(self, name: str, argument: Any) -> None:
        super()._record(name, argument)
        self._count += 1
        if self._failing(self._count):
            raise ValueError("not now")
        items: dict[str, Any] = self.filters if name.endswith("filter") else self.environments
        if name.startswith(("add", "update")):
            items[argument.id if isinstance(argument, FilterParams) else argument.env_id] = argument
        elif argument is not None:
            items.pop(argument, None)


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (put({"e1": 5}), [added("e1", 5)]),
        (put({"e1": 4}), [added("e1", 4)]),
        (put({}), [deleted("e1")]),
    ],
    ids=["same", "changed", "gone"],
)
def test_a_cached_addition_that_failed_follows_the_rule(then: PutContent, expected: list[Any]) -> None:
    handler = Failing(lambda count: count == 1)
    inline = Inline(handler, errors=HandlerErrors(retry=None))
    inline.deliver(cached({"e1": 5}))
    handler.calls.clear()
    inline.deliver(then)
    assert handler.calls == [*expected, ALL]


IDS = ["e1", "e2", "e3"]
VERSIONS = st.dictionaries(st.sampled_from(IDS), st.integers(-2, 3))


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[Message], PutContent]:
    """Return messages of which one is a cache's, and the put that comes last."""
    contents = st.tuples(VERSIONS, VERSIONS)
    old = put(*draw(contents))
    before = draw(st.lists(st.builds(patch, st.sampled_from(IDS), st.integers(-2, 3)), max_size=1))
    between = draw(
        st.lists(
            st.one_of(
                st.builds(patch, st.sampled_from(IDS), st.integers(-2, 3)),
                st.builds(delete, st.sampled_from(IDS), st.integers(-2, 3)),
                st.builds(patch_filter, st.sampled_from(IDS), st.integers(-2, 3)),
                st.builds(delete_filter, st.sampled_from(IDS), st.integers(-2, 3)),
            ),
            max_size=3,
        )
    )
    versions, filters = draw(contents)
    # The service's own versions only grow, so that a last put overrides what came before it on the stream.
    last = PutContent(
        {id: as_last(environment(id, version)) for id, version in versions.items()},
        {id: as_last(payload_filter(id, version)) for id, version in filters.items()},
    )
    return [*before, CachedContent(old), *between], last


def as_last(rep: Any) -> Any:
    return msgspec.structs.replace(rep, version=rep.version + 100)


@settings(deadline=None)
@given(stories(), st.sets(st.integers(1, 8)), st.booleans())
def test_ends_with_what_the_put_has(story: tuple[list[Message], PutContent], failing: set[int], waits: bool) -> None:
    """Whatever the cache had, whatever came before the put, and whichever calls fail."""
    messages, last = story
    handler = Failing(lambda count: count in failing)
    inline = Inline(handler, log=QUIET, errors=HandlerErrors(retry=None))
    inline.deliver(*messages, batch_size=1 if waits else 1000)
    for _ in range(9):  # each is the next try for what failed
        inline.deliver(last)
    assert handler.environments == {id: rep.to_params(id) for id, rep in last.environments.items()}
    assert handler.filters.keys() == last.filters.keys()  # no handler is told of a filter that the stream changes
