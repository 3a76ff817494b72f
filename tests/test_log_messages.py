"""The page of log messages has every text that the package logs, with its level, and none that it does not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import autoconfig

PACKAGE = Path(autoconfig.__file__).parent
PAGE = Path(__file__).parent.parent / "docs" / "reference" / "log-messages.md"
LEVELS = {"debug": "DEBUG", "info": "INFO", "warning": "WARNING", "error": "ERROR", "exception": "ERROR"}
LEVELS |= {"critical": "CRITICAL"}
ANY_LEVEL = "log"  # its first argument is the level, which is not known before the call
ENTRY = re.compile(r"^`(.+)` · ([A-Z, ]+)$", re.MULTILINE)


@cache
def listed() -> dict[str, set[str]]:
    """Return the texts of the page, with their levels."""
    return {text: set(levels.split(", ")) for text, levels in ENTRY.findall(PAGE.read_text("utf-8"))}


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the text and the method of each call of a logger in a module."""
    tree = ast.parse(path.read_text("utf-8"))
    constants = {
        target.id: node.value.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "log_aside":  # (logger, logging.LEVEL, text, …)
            text = node.args[2]
            value = constants.get(text.id) if isinstance(text, ast.Name) else ast.literal_eval(text)
            assert isinstance(value, str), f"{path.name}:{node.lineno}: the text is no constant"
            yield value, ast.unparse(node.args[1]).rpartition(".")[2].lower()
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        method, logger = node.func.attr, ast.unparse(node.func.value)
        if method in {*LEVELS, ANY_LEVEL} and re.fullmatch(r"(?:self\.)?_?log(?:ger)?", logger):
            text = node.args[method == ANY_LEVEL]
            value = constants.get(text.id) if isinstance(text, ast.Name) else ast.literal_eval(text)
            assert isinstance(value, str), f"{path.name}:{node.lineno}: the text is no constant"
            yield value, method


@cache
def logged() -> dict[str, set[str]]:
    """Return the texts of the package, with the methods that log them."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        if path.name != "safe_logger.py":
            for text, method in calls(path):
                found.setdefault(text, set()).add(method)
    return found


def test_the_search_finds_calls() -> None:
    assert logged()["Connected"] == {"info"}
    assert logged()["The handler failed in %s %s%s"] == {"error"}
    assert logged()["The stream failed: %s; next attempt in %.1f s"] == {ANY_LEVEL}


def test_the_page_has_the_texts_and_no_others() -> None:
    assert set(listed()) == set(logged())


def test_the_page_has_the_levels() -> None:
    wrong = {
        text: (listed().get(text), methods)
        for text, methods in logged().items()
        if any(listed().get(text) != {LEVELS[method]} for method in methods - {ANY_LEVEL})
    }
    assert wrong == {}
