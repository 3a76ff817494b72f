"""The quick constructors make what the slow ones make, and a read-only mapping cannot be changed."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.samples import environment

from autoconfig import EnvIdentifiers, EnvironmentParams, EnvironmentRep, PatchMessageData, SDKKeyRep
from autoconfig.construction import ReadOnlyMapping, quick_constructor

CLASSES: list[type[Any]] = [EnvIdentifiers, EnvironmentParams, EnvironmentRep, PatchMessageData, SDKKeyRep]
QUICK: dict[type[Any], Callable[..., Any]] = {cls: quick_constructor(cls) for cls in CLASSES}
TEXT = st.text(max_size=5)
VALUES = TEXT | st.integers() | st.none() | st.booleans() | st.tuples(TEXT)
EXTRA = st.dictionaries(TEXT, VALUES, max_size=3)
PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)  # Python itself has older ones pickle no class with slots
EACH = pytest.mark.parametrize("cls", CLASSES)


@attrs.frozen(weakref_slot=False)
class Sample:
    first: int
    _second: str = "two"
    third: tuple[int, ...] = (3,)


def required(cls: type[Any]) -> list[str]:
    """Return values for the fields without a default."""
    return [field.name for field in attrs.fields(cls) if field.default is attrs.NOTHING]


def fields(cls: type[Any]) -> st.SearchStrategy[list[Any]]:
    """Return a strategy for the values of all fields; none of these classes checks or converts them."""
    return st.tuples(*(EXTRA if field.name == "extra" else VALUES for field in attrs.fields(cls))).map(list)


@EACH
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_it_makes_what_the_constructor_makes(cls: type[Any], data: st.DataObject) -> None:
    """An equal instance of the very class, with the same hash, whatever the fields hold."""
    values = data.draw(fields(cls))
    quick, slow = QUICK[cls](*values), cls(*values)
    assert type(quick) is cls
    assert quick == slow
    assert slow == quick
    assert hash(quick) == hash(slow)
    assert [getattr(quick, field.name) for field in attrs.fields(cls)] == values


@EACH
@settings(max_examples=50, deadline=None)
@given(st.data())
def test_fields_with_a_default_may_be_left_out(cls: type[Any], data: st.DataObject) -> None:
    values = data.draw(fields(cls))
    values = values[: data.draw(st.integers(len(required(cls)), len(values)))]
    assert QUICK[cls](*values) == cls(*values)


@EACH
def test_what_it_makes_cannot_be_changed(cls: type[Any]) -> None:
    quick = QUICK[cls](*required(cls))
    for name in [field.name for field in attrs.fields(cls)]:
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(quick, name, "other")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(quick, name)
    assert not hasattr(quick, "__dict__")


@EACH
def test_what_it_makes_can_be_pickled_copied_and_evolved(cls: type[Any]) -> None:
    quick = QUICK[cls](*required(cls))
    for twin in pickle.loads(pickle.dumps(quick)), copy.copy(quick), copy.deepcopy(quick), attrs.evolve(quick):
        assert type(twin) is cls
        assert twin == quick


def test_what_it_makes_has_the_classs_methods_and_repr() -> None:
    slow = environment("e1", 3)
    quick = QUICK[EnvironmentRep](*(getattr(slow, field.name) for field in attrs.fields(EnvironmentRep)))
    assert repr(quick) == repr(slow)
    assert quick.describe() == slow.describe()
    assert quick.to_params() == slow.to_params()


def test_instances_do_not_share_their_fields() -> None:
    quick = quick_constructor(Sample)
    one, other = quick(1), quick(2, "b")
    assert (one, other) == (Sample(1), Sample(2, "b"))


def test_its_parameters_are_the_fields() -> None:
    """By position or by the field's own name."""
    assert quick_constructor(Sample)(third=(), first=1) == Sample(1, third=())
    assert quick_constructor(Sample)(1, _second="b") == Sample(1, "b")


@pytest.mark.parametrize(("values", "names"), [([], {}), ([1, "b", (), 4], {}), ([1], {"fourth": 4})])
def test_other_parameters_are_an_error(values: list[Any], names: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="argument"):
        quick_constructor(Sample)(*values, **names)


# Read-only mappings


@settings(deadline=None)
@given(EXTRA)
def test_a_read_only_mapping_is_equal_to_what_it_was_made_of(items: dict[str, Any]) -> None:
    mapping = ReadOnlyMapping(items)
    assert mapping == items
    assert items == mapping
    assert mapping == ReadOnlyMapping(dict(reversed(items.items())))
    assert mapping != {**items, "one more": 1}
    assert list(mapping.items()) == list(items.items())
    assert len(mapping) == len(items)


def test_it_is_no_equal_of_anything_else() -> None:
    others: list[Any] = [[], None, ()]
    assert all(ReadOnlyMapping({}) != other for other in others)


def test_it_does_not_see_later_changes_of_its_source() -> None:
    items = {"a": 1}
    mapping = ReadOnlyMapping(items)
    items["a"], items["b"] = 2, 3
    assert mapping == {"a": 1}


def test_it_cannot_be_changed() -> None:
    mapping: Any = ReadOnlyMapping({"a": 1})
    with pytest.raises(TypeError):
        mapping["a"] = 2
    with pytest.raises(TypeError):
        del mapping["a"]
    with pytest.raises(AttributeError):
        mapping.other = 2
    for method in "update", "pop", "popitem", "clear", "setdefault":
        assert not hasattr(mapping, method)
    assert mapping == {"a": 1}


def test_what_it_does_not_hold_is_a_key_error() -> None:
    mapping: Mapping[str, int] = ReadOnlyMapping({"a": 1})
    assert mapping["a"] == 1
    assert "b" not in mapping
    assert mapping.get("b") is None
    with pytest.raises(KeyError, match="b"):
        mapping["b"]


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, *[lambda one, n=n: pickle.loads(pickle.dumps(one, n)) for n in PROTOCOLS]],
    ids=["copy", "deepcopy", *[f"pickle-{n}" for n in PROTOCOLS]],
)
def test_it_can_be_copied_and_pickled(copied: Callable[[Any], Any]) -> None:
    mapping = ReadOnlyMapping({"a": 1, "b": (2, 3)})
    twin = copied(mapping)
    assert type(twin) is ReadOnlyMapping
    assert twin == mapping
