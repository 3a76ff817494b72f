"""Bases of the frozen classes: records whose repr masks secrets, and dicts and lists that cannot be changed."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import msgspec

from .identifiers import mask


class Record(msgspec.Struct, frozen=True, gc=False):
    """
    Base of the frozen classes that carry an environment.

    ``repr()`` masks the fields that a class names in ``_secrets``, and shows only the names of its ``extra`` fields,
    whose values may be secrets too. ``msgspec.structs.replace()`` makes a changed copy.
    """

    # gc=False: a record holds only strings, numbers and other records. So it cannot be part of a cycle, and the
    # collector can skip 100,000 of them.

    _secrets: ClassVar[frozenset[str]] = frozenset()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        fields = []
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if name in self._secrets:
                value = mask(value)
            elif name == "extra":
                value = sorted(value)
            fields.append((name.lstrip("_"), value))
        return fields

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({fields})"


def _refuse(self: object, *arguments: object, **named: object) -> NoReturn:
    raise TypeError(f"{type(self).__name__} cannot be changed")


class FrozenDict(dict[str, Any]):
    """A dict that cannot be changed. It is a dict, so that ``json`` can write it."""

    __slots__ = ()

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # the base has None
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenDict], tuple[dict[str, Any]]]:
        return type(self), (dict(self),)  # dict's own way would set the items one by one


class FrozenList(list[Any]):
    """A list that cannot be changed. It is a list, so that ``json`` can write it."""

    __slots__ = ()

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse

    def __hash__(self) -> int:  # type: ignore[override]  # the base has None
        return hash(tuple(self))

    def __reduce__(self) -> tuple[type[FrozenList], tuple[list[Any]]]:
        return type(self), (list(self),)
