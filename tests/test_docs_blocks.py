"""
What the pages show besides Python is right: shell lines, JSON, units of systemd, the Dockerfile.

Python is run by ``test_docs_samples.py``, and ``docs/conf.py`` parses YAML when the pages are built.
"""

from __future__ import annotations

import configparser
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from autoconfig.cli.commands import cli

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
CHECKED = {"sh", "json", "ini", "dockerfile"}
CHECKED_ELSEWHERE = {"python", "yaml"}
OUTPUT = {"text"}
DIRECTIVE = re.compile(r"\{[\w-]+\}$")
OPERATORS = "|&;()<>\n"

Block = tuple[str, str]
"""A page's name, and what stands between the fences."""


def blocks(language: str) -> list[Block]:
    return [(page, text) for page, kind, text in all_blocks() if kind == language]


def all_blocks() -> Iterator[tuple[str, str, str]]:
    for page in PAGES:
        for _, kind, text in BLOCK.findall(page.read_text("utf-8")):
            yield page.relative_to(ROOT).as_posix(), kind, text


def commands(script: str) -> Iterator[list[str]]:
    """Yield the calls of ``autoconfig`` in a shell script, without the name."""
    lines = re.sub(r"(^|\s)#.*", "", script.replace("\\\n", ""), flags=re.MULTILINE)
    lexer = shlex.shlex(lines, posix=True, punctuation_chars=OPERATORS)
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    words: list[str] | None = None
    for word in [*lexer, ";"]:
        if set(word) <= set(OPERATORS):
            if words is not None:
                yield words
            words = None
        elif words is not None:
            words.append(word)
        elif word.rpartition("/")[2] == "autoconfig":
            words = []


def parse(words: list[str]) -> None:
    """Let the command parse its arguments, without running it."""
    name, *arguments = words or ["--help"]
    if not name.startswith("-"):
        cli.commands[name].make_context(name, arguments)


def test_each_block_is_of_a_kind_that_is_checked() -> None:
    known = CHECKED | CHECKED_ELSEWHERE | OUTPUT
    odd = [(page, kind) for page, kind, _ in all_blocks() if kind not in known and not DIRECTIVE.match(kind)]
    assert odd == []


@pytest.mark.parametrize(("page", "script"), blocks("sh"))
def test_a_shell_block_has_no_mistake(page: str, script: str) -> None:
    """Its syntax is the shell's, and ``autoconfig`` knows its options."""
    checked = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    for words in commands(re.sub(r"<<'JSON'.*?^JSON$", "", script, flags=re.MULTILINE | re.DOTALL)):
        try:
            parse(words)
        except (click.UsageError, KeyError) as error:
            pytest.fail(f"{page}: autoconfig {shlex.join(words)}: {error}")


@pytest.mark.parametrize("words", [["watch", "--projet", "shop"], ["wach"], ["sync", "--format", "xml"], ["replay"]])
def test_a_wrong_command_would_be_noticed(words: list[str]) -> None:
    script = f"true | autoconfig {shlex.join(words)} > file"
    assert list(commands(script)) == [words]
    with pytest.raises((click.UsageError, KeyError)):
        parse(words)


@pytest.mark.parametrize("text", [text for _, text in blocks("json")])
def test_json_can_be_read(text: str) -> None:
    json.loads(text.replace('"…"', '"key"'))


@pytest.mark.parametrize("text", [text for _, text in blocks("ini")])
def test_systemd_accepts_a_unit(text: str, tmp_path: Path) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    executable, *arguments = shlex.split(parser["Service"]["ExecStart"])
    if executable.endswith("/autoconfig"):
        parse(arguments)
    if shutil.which("systemd-analyze"):
        unit = tmp_path / "page.service"
        unit.write_text(text.replace(executable, "/bin/true"), "utf-8")
        done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
        assert [line for line in done.stderr.splitlines() if "page.service" in line] == []


@pytest.mark.parametrize("text", [text for _, text in blocks("dockerfile")])
def test_the_dockerfile_runs_the_command(text: str) -> None:
    instructions = dict(line.split(" ", 1) for line in text.splitlines() if line)
    assert set(instructions) == {"FROM", "RUN", "USER", "ENTRYPOINT", "CMD"}
    assert json.loads(instructions["ENTRYPOINT"]) == ["autoconfig"]
    parse(json.loads(instructions["CMD"]))


def test_the_extras_environments_and_benchmarks_that_are_named_exist() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    setup, tox = (configparser.ConfigParser(interpolation=None) for _ in range(2))
    setup.read(ROOT / "setup.cfg", "utf-8")
    tox.read(ROOT / "tox.ini", "utf-8")
    extras = {extra for found in re.findall(r"ld-autoconfig\[([\w,]+)\]", text) for extra in found.split(",")}
    assert extras <= set(setup["options.extras_require"])
    environments = set(re.findall(r"tox -e (\w+)", text)) - {"py"}
    assert environments <= {name.partition(":")[2] for name in tox.sections()}
    benchmarks = set(re.findall(r"python -m (benchmarks\.\w+)", text))
    assert [name for name in benchmarks if not (ROOT / f"{name.replace('.', '/')}.py").exists()] == []
    assert importlib.util.find_spec("autoconfig.__main__")
