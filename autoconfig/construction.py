"""What frozen classes are made of: a quick constructor, and a mapping that cannot be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def quick_constructor(cls: type[T]) -> Callable[..., T]:
    """
    Return a function that makes instances of a frozen, slotted attrs class in a third of the constructor's time.

    The constructor of a frozen class has to go around its own ``__setattr__`` for each field. This one fills an
    instance of a twin, which has the same slots and is not frozen, and turns it into the class; Python allows that for
    classes of one layout. Its parameters are the fields in their order; those with a default come last and may be left
    out. Converters and validators do not run.
    """
    fields = attrs.fields(cls)  # type: ignore[arg-type]
    twin = type(f"{cls.__name__}Twin", (), {"__slots__": tuple(field.name for field in fields)})
    defaults = {f"default_{field.name}": field.default for field in fields if field.default is not attrs.NOTHING}
    parameters = [
        f"{field.name}=default_{field.name}" if field.default is not attrs.NOTHING else field.name for field in fields
    ]
    lines = [f"def construct({', '.join(parameters)}):", "    instance = new(twin)"]
    lines += [f"    instance.{field.name} = {field.name}" for field in fields]
    lines += ["    instance.__class__ = cls", "    return instance"]
    # Written out for the class, as attrs does it, because a call of a general function costs as much as all the fields.
    names: dict[str, Any] = {"cls": cls, "twin": twin, "new": object.__new__, **defaults}
    exec("\n".join(lines), names)  # the source holds nothing but names of fields
    construct: Callable[..., T] = names["construct"]
    return construct


class ReadOnlyMapping(Mapping[str, T]):
    """
    A copy of a mapping that cannot be changed; unlike ``types.MappingProxyType`` it can be pickled and copied.

    Args:
        items: What it holds.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, T]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: str) -> T:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)
