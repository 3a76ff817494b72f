"""The README's programs, which are run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from examples.conftest import PRODUCTION, STAGING, Start

from autoconfig.testing import Emulator

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
FIRST, SECOND, _ = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)  # the last is a test


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Write a program into a file; return its path."""

    def write(program: str) -> str:
        (folder := tmp_path / "readme").mkdir(exist_ok=True)
        (folder / "program.py").write_text(program, "utf-8")
        return str(folder / "program.py")

    return write


def test_the_first_prints_what_is_there_and_ends(start: Start, write: Callable[[str], str]) -> None:
    program = start(write(FIRST))
    assert program.ended() == 0
    assert program.output == "Shop / Production sdk-…0ae7\nShop / Staging sdk-…d479\n"


def test_the_second_prints_every_change(start: Start, write: Callable[[str], str], service: Emulator) -> None:
    program = start(write(SECOND))
    assert program.line("added") == "added or changed Shop / Production sdk-…0ae7"
    assert program.line("added") == "added or changed Shop / Staging sdk-…d479"
    service.set_environment(PRODUCTION)
    assert program.line("changed") == "added or changed Shop / Production sdk-…0ae7"
    service.delete_environment(STAGING.env_id)
    assert program.line("deleted") == f"deleted {STAGING.env_id}"
    program.interrupt()
    assert program.ended() != 0  # Ctrl-C, as in any program that does not catch it
    assert "KeyboardInterrupt" in program.output


def test_both_end_when_the_key_is_refused(start: Start, write: Callable[[str], str]) -> None:
    for each in (FIRST, SECOND):
        program = start(write(each), AUTO_CONFIG_KEY="rel-another")
        assert program.ended() != 0
        assert "KeyRejectedError" in program.output
        assert "added" not in program.output
