"""Strategies for what the wire may hold: items, and documents whose members come in any order, case and number."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import strategies as st

from autoconfig import EnvironmentID
from autoconfig.frozen import FrozenDict, FrozenList
from autoconfig.messages import EnvironmentRep, ExpiringKeyRep, FilterRep, KeyRep, SDKKeyRep

MOST, LEAST, MOST_UNSIGNED = 2**63 - 1, -(2**63), 2**64 - 1
INT64 = st.integers(LEAST, MOST)
TEXT: Any = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
KEYS = st.lists(
    st.builds(KeyRep, TEXT, st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.none() | INT64),
    max_size=3,
)
# No two of these fold to a name of ours.
UNKNOWN = st.sampled_from(["extra", "views", "", "env_id", "Ünknown", "x"])
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INT64 | TEXT | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=5,
)


def frozen(value: Any) -> Any:
    """Return a JSON value as the library keeps it."""
    if isinstance(value, dict):
        return FrozenDict({name: frozen(inner) for name, inner in value.items()})
    return FrozenList(map(frozen, value)) if isinstance(value, list) else value


EXTRA = st.dictionaries(UNKNOWN, JSON_VALUES, max_size=2).map(frozen)


def _with_anchors(rep: EnvironmentRep, sdk_keys: list[KeyRep], mobile_keys: list[KeyRep]) -> EnvironmentRep:
    """Return the environment with lists that hold its keys, if it has such."""
    return msgspec.structs.replace(
        rep,
        sdk_keys=(KeyRep("", rep.sdk_key.value), *sdk_keys) if sdk_keys and rep.sdk_key.value else None,
        mobile_keys=(*mobile_keys, KeyRep("", rep.mob_key)) if mobile_keys and rep.mob_key else None,
    )


ENVIRONMENTS = st.builds(
    _with_anchors,
    st.builds(
        EnvironmentRep,
        env_id=TEXT,
        env_key=TEXT,
        env_name=TEXT,
        mob_key=TEXT,
        proj_name=TEXT,
        proj_key=TEXT,
        sdk_key=st.builds(SDKKeyRep, TEXT, st.none() | st.builds(ExpiringKeyRep, TEXT, st.integers(0, MOST_UNSIGNED))),
        default_ttl=INT64,
        secure_mode=st.booleans(),
        version=INT64,
        extra=EXTRA,
    ),
    KEYS,
    KEYS,
)
FILTERS = st.builds(FilterRep, TEXT, TEXT, INT64)
NAMES = frozenset(EnvironmentRep.__struct_encode_fields__) - {"extra"}


def named(id: str, rep: EnvironmentRep) -> EnvironmentRep:
    """Return the environment under an id."""
    return msgspec.structs.replace(rep, env_id=EnvironmentID(id))


class Pairs(list[tuple[str, Any]]):
    """An object whose members may come more than once. Ids stand in another class, because their case counts."""


class Ids(Pairs):
    """An object whose names are ids."""


def _pairs(members: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Pairs]:
    member = st.one_of(*[st.tuples(st.just(name), value) for name, value in members.items()])
    return st.lists(member, max_size=6).map(Pairs)


_ODD = st.none() | st.booleans() | st.integers(-1, 1) | st.sampled_from(["", "a", "/", "/environments/a", "/filters/a"])
_STRING = st.sampled_from(["", "a", "b", None])
_NUMBER = st.sampled_from([0, 1, 5, None, -1])
_EXPIRING = _pairs({"value": _STRING, "timestamp": _NUMBER, "unknown": _ODD})
_SDK_KEY = _pairs({"value": _STRING, "expiring": _EXPIRING | st.none()})
_KEY = _pairs({"key": _STRING, "value": _STRING, "expiry": _NUMBER, "hasViews": st.booleans() | st.none()})
_ENVIRONMENT = _pairs(
    {
        "envId": st.just("a"),
        "envName": _STRING,
        "mobKey": _STRING,
        "sdkKey": _SDK_KEY | st.none(),
        "defaultTtl": _NUMBER,
        "secureMode": st.booleans() | _ODD,
        "version": _NUMBER | _ODD,
        "sdkKeys": st.lists(_KEY | st.none(), max_size=2) | st.none(),
        "mobileKeys": st.lists(_KEY, max_size=2),
    }
)
_FILTER = _pairs({"projKey": _STRING, "key": _STRING, "version": _NUMBER, "x": _ODD})
_IDS = st.sampled_from(["a", "A", "b"])


def _by_id(item: st.SearchStrategy[Pairs]) -> st.SearchStrategy[Ids]:
    return st.lists(st.tuples(_IDS, item | st.none()), max_size=2).map(Ids)


_CONTENT = _pairs({"environments": _by_id(_ENVIRONMENT) | st.none(), "filters": _by_id(_FILTER), "other": _ODD})
_PATHS = st.sampled_from(["/", "/", "/environments/a", "/environments/a", "/filters/a", "/Environments/a", None])
DOCUMENTS = st.builds(
    lambda path, rest: Pairs([("path", path), *rest]),
    _PATHS,
    _pairs({"path": _PATHS, "data": _CONTENT | _ENVIRONMENT | _FILTER | _ODD, "version": _NUMBER, "more": _ODD}),
)
"""Puts, patches and deletions, right and wrong."""


def write(value: Any) -> str:
    """Return the JSON of a document, compact as the service writes it."""
    if isinstance(value, Pairs):
        return "{" + ",".join(f"{json.dumps(name)}:{write(inner)}" for name, inner in value) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


_RECASED: list[Callable[[str], str]] = [str, str.upper, str.lower, str.swapcase, str.title]


def recased(value: Any, draw: Callable[[Any], Any]) -> Any:
    """Return a document with its names, but for ids, in some other case."""
    if isinstance(value, Pairs):
        return type(value)(
            (name if isinstance(value, Ids) else draw(st.sampled_from(_RECASED))(name), recased(inner, draw))
            for name, inner in value
        )
    return [recased(inner, draw) for inner in value] if isinstance(value, list) else value
