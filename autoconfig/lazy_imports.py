"""Public names of a package that are imported from their modules when they are first used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazy_imports(
    package: dict[str, Any], modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """
    Return the ``__getattr__`` and the ``__dir__`` of a package.

    Args:
        package: The ``globals()`` of the package.
        modules: The module that each name comes from, relative to the package.
    """

    def import_name(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        value = package[name] = getattr(import_module(f".{modules[name]}", package["__name__"]), name)
        return value

    def list_names() -> list[str]:
        return sorted({*package, *modules})

    return import_name, list_names
