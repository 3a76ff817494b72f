"""Strategies for messages in any order, and for the calls that fail."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from hypothesis import strategies as st
from properties.line import LONGEST, Step, Wait
from properties.promises import FAILURES as FAILED
from support.dispatching import Outcome
from support.samples import delete, delete_filter, environment, patch, patch_filter

from autoconfig import FilterKey
from autoconfig.messages import FilterRep, PatchMessageData, PutContent

_CALLS = 24  # that may fail

Maker = Callable[[int], Step]
"""Makes a step of the version that is the highest so far, if every step before it raised that by one."""

IDS = ["a", "a", "b", ""]
# What is added to the highest version: mostly nothing, so that the message counts, else what makes it a late one.
OFFSETS = [0, 0, 0, 0, -1, -2, -3, -4, -8, 2]


def constant_filter(id: str, version: int) -> FilterRep:
    """Return a filter of which nothing but the version ever changes."""
    return FilterRep("shop", FilterKey(f"key-{id}"), version)


def patch_constant_filter(id: str, version: int) -> PatchMessageData:
    return PatchMessageData(id, constant_filter(id, version))


def mismatched(id: str, version: int) -> PatchMessageData:
    return PatchMessageData(id, environment(f"not-{id}", version))


def refused(id: str, version: int) -> PatchMessageData:
    return PatchMessageData(id, environment(id, version), "contradiction")


def versioned(make: Callable[[str, int], Step], names: Sequence[str] = IDS) -> st.SearchStrategy[Maker]:
    """Return makers of messages that have an id, or a path, and one version."""
    return st.sampled_from([_maker(make, name, offset) for name, offset in itertools.product(names, OFFSETS)])


def _maker(make: Callable[[str, int], Step], name: str, offset: int) -> Maker:
    return lambda top: make(name, top + offset)


def put_maker(environments: dict[str, int], filters: dict[str, int], odd: dict[str, str]) -> Maker:
    """Return a maker of puts; some entries have another id inside, or contradict themselves."""

    def make(top: int) -> PutContent:
        return PutContent(
            {id: environment(id, top + offset) for id, offset in environments.items() if id not in odd},
            {id: constant_filter(id, top + offset) for id, offset in filters.items()},
            refused={id: "contradiction" for id, how in odd.items() if how == "refused"},
            foreign={id: f"not-{id}" for id, how in odd.items() if how == "foreign"},
        )

    return make


def several(*makers: st.SearchStrategy[Maker]) -> st.SearchStrategy[list[Step]]:
    """Return lists of steps that are not all short."""
    one = st.one_of(*makers)
    lists = st.one_of(st.lists(one, max_size=6), st.lists(one, min_size=6, max_size=14))
    return lists.map(lambda makers: [make(top) for top, make in enumerate(makers)])


def constantly(step: Step) -> Maker:
    return lambda _: step


CONTENT = st.lists(st.sampled_from([*itertools.product(IDS, OFFSETS)]), max_size=3).map(dict)
ODD = st.lists(st.sampled_from([*itertools.product(IDS, ["foreign", "refused"])]), max_size=2).map(dict)
NOTHING: st.SearchStrategy[dict[str, str]] = st.just({})
WAITS = st.sampled_from([*map(constantly, map(Wait, [0.4, 1.0, 3.0, LONGEST]))])
CHANGES: list[st.SearchStrategy[Maker]] = [
    versioned(patch),
    versioned(delete),
    versioned(patch_constant_filter),
    versioned(delete_filter),
    st.builds(put_maker, CONTENT, CONTENT, NOTHING),
]
ODDITIES: list[st.SearchStrategy[Maker]] = [
    versioned(mismatched),
    versioned(refused),
    st.builds(put_maker, CONTENT, CONTENT, ODD),
]
NEW_FILTERS: list[st.SearchStrategy[Maker]] = [versioned(patch_filter), versioned(delete_filter)]
# Some of the calls fail, at all stages of their work, also when the list of steps is long.
OUTCOMES: st.SearchStrategy[list[Outcome]] = st.lists(
    st.sampled_from(["succeed", "succeed", *FAILED]), min_size=_CALLS, max_size=_CALLS
)
