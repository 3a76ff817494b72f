"""``examples/sample_project``: a user's project, whose own tests use the library's fixtures."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from examples.conftest import EXAMPLES

DEADLINE = 180.0  # seconds for a run of pytest


def test_its_tests_pass_as_they_stand(tmp_path: Path) -> None:
    project = tmp_path / "sample_project"
    shutil.copytree(EXAMPLES / "sample_project", project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-ra"], cwd=project, capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = len(re.findall("^def test_", (project / "tests" / "test_announcer.py").read_text("utf-8"), re.MULTILINE))
    assert f"{written} passed" in done.stdout
    assert "skipped" not in done.stdout
