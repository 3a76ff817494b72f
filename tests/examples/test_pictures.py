"""The pictures of the command in the documentation show what the command prints today."""

from __future__ import annotations

import html
import importlib.util
import re
import sys
from types import ModuleType

import pytest
from examples.conftest import EXAMPLES, need

PICTURES = EXAMPLES.parent / "docs" / "pictures"


@pytest.fixture
def draw() -> ModuleType:
    """The script that draws them."""
    spec = importlib.util.spec_from_file_location("draw", PICTURES / "draw.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words(svg: str) -> str:
    """Return what a picture says, without spaces and numbers, because line breaks, ports and times differ."""
    text = html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", svg, flags=re.DOTALL))
    return re.sub(r"\d+", "0", re.sub(r",\d+ms", "", "".join(text.split())))


@need("click")
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("command", "width"), [("snapshot", 80), ("snapshot", 40), ("doctor", 80)])
def test_a_picture_shows_what_the_command_prints(draw: ModuleType, command: str, width: int) -> None:
    shown = (PICTURES / f"{command}-{width}.svg").read_text("utf-8")
    assert words(draw.drawn(command, draw.screen(command, width), width)) == words(shown)


def test_the_pages_show_every_picture() -> None:
    pages = EXAMPLES.parent / "docs"
    text = "".join(page.read_text("utf-8") for page in pages.rglob("*.md"))
    assert [path.name for path in PICTURES.glob("*.svg") if path.name not in text] == []
