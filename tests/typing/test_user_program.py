"""Type checkers, as strict as they can be, find nothing wrong with a program that is right."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import autoconfig

PROGRAM = Path(__file__).with_name("user_program.py")
DEADLINE = 600.0  # seconds; without a cache mypy may take half a minute
# Where the package is, for an editable install, which type checkers do not see by themselves.
PARENT = Path(autoconfig.__file__).parents[1]
EXTRA_PATHS = [] if PARENT.name.endswith("-packages") else [str(PARENT)]


def check(module: str, *arguments: str, cwd: Path) -> str:
    """Run a type checker; return what it says. Fail if it finds anything."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(EXTRA_PATHS), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A copy of the program outside of the checkout, so that no setting from here is found."""
    return Path(shutil.copy(PROGRAM, tmp_path))


def test_mypy(program: Path) -> None:
    said = check("mypy", "--strict", "--config-file=", "--warn-unreachable", program.name, cwd=program.parent)
    assert "no issues found in 1 source file" in said


def test_pyright(program: Path) -> None:
    settings = {"include": [program.name], "typeCheckingMode": "strict", "extraPaths": EXTRA_PATHS}
    (program.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    said = check("pyright", "--pythonpath", sys.executable, "--outputjson", cwd=program.parent)
    summary = json.loads(said)["summary"]
    assert (summary["filesAnalyzed"], summary["errorCount"], summary["warningCount"]) == (1, 0, 0), said
