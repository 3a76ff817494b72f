"""Imports run one way and never in a circle; the core needs no optional room, nor what only those may import."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

import autoconfig

ROOT = Path(__file__).parent.parent
PACKAGE = Path(autoconfig.__file__).parent
FACADE = ""  # autoconfig/__init__.py
# Where the name to import differs from the distribution's.
IMPORT_NAMES = {
    "attrs": {"attr", "attrs"},
    "launchdarkly-server-sdk": {"ldclient"},
    "opentelemetry-api": {"opentelemetry"},
    "prometheus-client": {"prometheus_client"},
    "prometheus_client": {"prometheus_client"},
    "pysocks": {"socks"},
    "sseclient-py": {"sseclient"},
}
# The extra of a room, where that is named otherwise; a room of no extra may import run-time dependencies only.
EXTRAS = {"encryption": "cache", "metrics": "prometheus", "testing": "tests"}


@cache
def modules() -> dict[str, Path]:
    """Return every module of the package by its name within it; the package itself is ``""``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def absolute_imports(module: str) -> list[tuple[str, list[str]]]:
    """Return what a module imports, also lazily or for types only: modules, and the names taken from each."""
    path = modules()[module]
    package = ["autoconfig", *module.split(".")] if module else ["autoconfig"]
    if path.name != "__init__.py":
        package.pop()
    found: list[tuple[str, list[str]]] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            found.append((".".join([*base, *filter(None, [node.module])]), [alias.name for alias in node.names]))
    return found


def inner_imports(module: str) -> set[str]:
    """Return which of the package's modules a module imports; ``from . import x`` counts as ``x`` if that is one."""
    found = set()
    for target, names in absolute_imports(module):
        if target.partition(".")[0] != "autoconfig":
            continue
        inner = target.partition(".")[2]
        submodules = {f"{inner}.{name}".lstrip(".") for name in names} & modules().keys()
        found |= submodules
        if len(submodules) < len(names) or not names:
            found.add(inner)
    return found - {module}


@cache
def imports() -> dict[str, set[str]]:
    """Return which of the package's modules each of them imports."""
    return {module: inner_imports(module) for module in modules()}


def room_of(module: str) -> str:
    """Return the room of a module: what stands beside it in ``ls autoconfig``."""
    return module.partition(".")[0]


def reachable(start: str) -> set[str]:
    """Return the modules that an import of one leads to, itself included."""
    found: set[str] = set()
    left = {start}
    while left:
        module = left.pop()
        found.add(module)
        left |= imports()[module] - found
    return found


@cache
def core() -> set[str]:
    """Return the rooms that an import of the package leads to."""
    return {room_of(module) for module in reachable(FACADE)}


def circle(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the nodes of a graph that lead to themselves, or to some that do."""
    left = {node: targets & graph.keys() for node, targets in graph.items()}
    while free := [node for node, targets in left.items() if not targets]:
        left = {node: targets.difference(free) for node, targets in left.items() if node not in free}
    return left


@cache
def declared(*extras: str) -> set[str]:
    """Return the import names of the run-time dependencies and those of the given extras."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    lines = setup["options"]["install_requires"].split("\n")
    for extra in extras:
        lines += setup["options.extras_require"].get(extra, "").split("\n")
    names = [re.split(r"[^\w.-]", line)[0].lower() for line in lines if line.strip()]
    return {name for dist in names for name in IMPORT_NAMES.get(dist, {dist})}


def test_modules_form_no_circle() -> None:
    assert not circle(imports())


def test_rooms_form_no_circle() -> None:
    """A room is a file or a folder of the package; so each folder is used by those above it, and uses those below."""
    rooms: dict[str, set[str]] = {}
    for module, targets in imports().items():
        others = {room_of(target) for target in targets} - {room_of(module)}
        rooms.setdefault(room_of(module), set()).update(others)
    assert not circle(rooms)


def test_the_package_itself_is_imported_by_no_module() -> None:
    importing = {module for module, targets in imports().items() if FACADE in targets and module != "__main__"}
    assert not importing


def test_nothing_is_imported_that_setup_cfg_does_not_declare() -> None:
    undeclared = {}
    for module in modules():
        room = room_of(module)
        extras = [] if room in core() else [EXTRAS.get(room, room)]
        imported = {target.partition(".")[0] for target, _ in absolute_imports(module)}
        undeclared[module] = imported - {"autoconfig", *sys.stdlib_module_names, *declared(*extras)}
    assert {module: names for module, names in undeclared.items() if names} == {}


@pytest.mark.parametrize("room", ["archive", "archive_reader", "cache", "cli", "encryption", "redis", "testing"])
def test_the_core_needs_no_optional_room(room: str) -> None:
    assert room not in core()
