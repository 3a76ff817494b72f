"""What the plugin costs a run of pytest that does not use it: nothing but pytest is imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

import autoconfig
import autoconfig.testing

PROGRAM = """
import sys, pytest
before = set(sys.modules)
import autoconfig.testing.pytest_plugin
new = {name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(sorted(new), "ssl" in sys.modules, "socket" in set(sys.modules) - before)
"""


def test_the_plugin_imports_nothing_but_pytest() -> None:
    """Above all not ssl, which a conftest may want to patch first."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "['autoconfig'] False False\n"


@pytest.mark.parametrize("package", [autoconfig, autoconfig.testing], ids=lambda package: package.__name__)
def test_every_public_name_has_a_home(package: ModuleType) -> None:
    """The table for late imports and ``__all__`` name the same."""
    assert sorted({*package._MODULES, "__version__"}) == sorted({*package.__all__, "__version__"})
    for name in package.__all__:
        assert name in dir(package)
        assert getattr(importlib.import_module(package.__name__), name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing
