"""Imports go down the layers of docs/architecture.md, never up or in a circle, and never to what is not declared."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import autoconfig

ROOT = Path(__file__).parent.parent
PACKAGE = Path(autoconfig.__file__).parent

# Modules by their names within the package. A package stands for all modules in it. One need not exist yet.
LAYERS = {
    "__main__": 10,
    "cli": 9,
    "manager": 8,
    "registry": 8,
    "filtering": 8,
    "expiry": 8,
    "testing": 8,
    "threads": 7,
    "dispatcher": 6,
    "delivery": 5,
    "pending": 4,
    "calls": 4,
    "stream.reader": 4,
    "stream.connection": 3,
    "stream.transport": 3,
    "stream.chunked": 3,
    "stream.failures": 3,
    "stream.cancel": 3,
    "stream.events": 3,
    "stream.decoding": 3,
    "stream.fields": 3,
    "stream.retry": 3,
    "tracking": 2,
    "messages": 2,
    "receiver": 2,
    "handler": 2,
    "environments": 1,
    "status": 1,
    "handler_errors": 1,
    "keys": 1,
    "identifiers": 0,
    "exceptions": 0,
    "config": 0,
    "forks": 0,
    "safe_logger": 0,
    "construction": 0,
    "validation": 0,
    "version": 0,
}
FACADE = ""  # autoconfig/__init__.py
IMPORT_NAMES = {"attrs": {"attr", "attrs"}, "sseclient-py": {"sseclient"}}  # where they differ from the distribution's
EXTRAS = {"cli": "cli", "testing": "tests"}  # parts that may also import what an extra installs


def modules() -> dict[str, Path]:
    """Return every module of the package by its name within it; the package itself is ``""``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def part_of(module: str) -> str | None:
    """Return the part that a module belongs to."""
    return next((part for part in LAYERS if module == part or module.startswith(f"{part}.")), None)


def absolute_imports(module: str) -> Iterator[tuple[str, list[str]]]:
    """Yield what a module imports, also lazily or for types only: modules, and the names taken from each."""
    path = MODULES[module]
    package = ["autoconfig", *module.split(".")] if module else ["autoconfig"]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield ".".join([*base, *filter(None, [node.module])]), [alias.name for alias in node.names]


def inner_imports(module: str) -> set[str]:
    """Return which of the package's modules a module imports; ``from . import x`` counts as ``x`` if that is one."""
    found = set()
    for target, names in absolute_imports(module):
        if target.partition(".")[0] != "autoconfig":
            continue
        inner = target.partition(".")[2]
        submodules = {f"{inner}.{name}".lstrip(".") for name in names} & MODULES.keys()
        found |= submodules
        if len(submodules) < len(names) or not names:
            found.add(inner)
    return found - {module}


def may_import(module: str, target: str) -> bool:
    """Return whether the layers allow an import; parts of one layer may use each other if they belong together."""
    part, other = part_of(module), part_of(target)
    if part is None or other is None:
        return False
    same_package = module.partition(".")[0] == target.partition(".")[0]
    foundations = LAYERS[part] == 0
    return LAYERS[other] < LAYERS[part] or (LAYERS[other] == LAYERS[part] and (same_package or foundations))


def is_facade(module: str) -> bool:
    """Return whether a module is a package's ``__init__`` that stands in no layer: it may only hand names on."""
    return module in (FACADE, "stream")  # other packages are parts, and their __init__ is one of the part


def declared(*extras: str) -> set[str]:
    """Return the import names of the run-time dependencies and those of the given extras."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", "utf-8")
    lines = setup["options"]["install_requires"].split("\n")
    for extra in extras:
        lines += setup["options.extras_require"][extra].split("\n")
    names = [re.split(r"[^\w.-]", line)[0] for line in lines if line.strip()]
    return {name for dist in names for name in IMPORT_NAMES.get(dist, {dist})}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_in_a_layer(module: str) -> None:
    assert is_facade(module) or part_of(module), f"autoconfig.{module} is in no layer of docs/architecture.md"


@pytest.mark.parametrize("module", [name for name in MODULES if not is_facade(name)])
def test_imports_only_from_lower_layers(module: str) -> None:
    wrong = {target or "autoconfig" for target in inner_imports(module) if not may_import(module, target)}
    assert not wrong, f"autoconfig.{module} may not import {', '.join(sorted(wrong))}"


@pytest.mark.parametrize("module", MODULES)
def test_imports_nothing_undeclared(module: str) -> None:
    part = part_of(module) or ""
    allowed = {"autoconfig", *sys.stdlib_module_names, *declared(*[EXTRAS[part]] if part in EXTRAS else [])}
    undeclared = {target.partition(".")[0] for target, _ in absolute_imports(module)} - allowed
    assert not undeclared, f"autoconfig.{module} imports what setup.cfg does not declare"


def test_imports_form_no_circle() -> None:
    left = {module: inner_imports(module) & MODULES.keys() for module in MODULES}
    while free := [module for module, targets in left.items() if not targets]:
        left = {module: targets.difference(free) for module, targets in left.items() if module not in free}
    assert not left, f"these import each other, or something that does: {left}"


@pytest.mark.parametrize("module", [name for name in MODULES if is_facade(name)])
def test_a_facade_only_hands_names_on(module: str) -> None:
    body = ast.parse(MODULES[module].read_text("utf-8")).body
    extra = [node for node in body if not isinstance(node, ast.ImportFrom | ast.Assign | ast.AnnAssign | ast.Expr)]
    assert not extra, f"line {extra[0].lineno} is more than an import, an assignment or a docstring"


def test_the_architecture_page_has_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", page, re.MULTILINE)
    parts = {
        name.removesuffix("/").removesuffix(".py").replace("/", "."): int(layer)
        for layer, cell in rows
        for name in re.findall(r"`([^`]+)`", cell)
    }
    assert parts == LAYERS
