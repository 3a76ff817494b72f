"""The packages whose names are imported when they are first used, because pytest loads them in every run."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

import autoconfig
import autoconfig.testing

PACKAGES = pytest.mark.parametrize("package", [autoconfig, autoconfig.testing], ids=lambda package: package.__name__)


@PACKAGES
def test_every_public_name_has_a_home(package: ModuleType) -> None:
    assert sorted({*package._MODULES, "__version__"}) == sorted({*package.__all__, "__version__"})
    for name in package.__all__:
        assert name in dir(package)
        assert getattr(importlib.import_module(package.__name__), name) is not None
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing


@PACKAGES
def test_type_checkers_read_the_same_table(package: ModuleType) -> None:
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    read = {
        alias.asname: f"{'.' * (statement.level - 1)}{statement.module}"
        for statement in block.body
        for alias in statement.names
        if alias.name == alias.asname  # without that it would not be exported
    }
    assert read == package._MODULES
