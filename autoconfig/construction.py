"""What frozen classes are made of: a quick constructor, and a mapping that cannot be changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import attrs

T = TypeVar("T")


def quick_constructor(cls: type[T]) -> Callable[..., T]:
    """
    Return a function that makes instances of a frozen, slotted attrs class in a third of the constructor's time.

    A constructor of a frozen class has to go around its own ``__setattr__`` for each field. This one fills a twin,
    which has the same slots and is not frozen, and turns it into the class; Python allows that for classes of one
    layout. All values have to be given, in order; converters and validators do not run.
    """
    twin: Callable[..., Any] = attrs.make_class(
        f"{cls.__name__}Twin",
        {field.name: attrs.field() for field in attrs.fields(cls)},  # type: ignore[arg-type]
        slots=True,
        weakref_slot=False,
        eq=False,
        order=False,
        repr=False,
    )

    def construct(*values: Any) -> T:
        instance = twin(*values)
        instance.__class__ = cls
        return instance  # type: ignore[no-any-return]

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
