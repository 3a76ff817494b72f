"""What the project says about itself in several places is the same everywhere."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

import autoconfig

ROOT = Path(__file__).parent.parent
LEFT_BY_TOOLS = {".hypothesis", ".pytest_cache", "__pycache__"}


def files() -> list[Path]:
    """Return the project's files: those that git tracks or would track; all of them in an unpacked sdist."""
    if (ROOT / ".git").exists():
        command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        found = [ROOT / name for name in listed.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not LEFT_BY_TOOLS & set(path.relative_to(ROOT).parts)]
    return [path for path in found if path.is_file()]


def fenced_blocks(page: Path, language: str) -> list[str]:
    """Return the code of a Markdown page's fenced blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", "utf-8")
    return parser


def requirements(section: str, key: str, path: str = "setup.cfg") -> list[str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / path, "utf-8")
    return [line for line in parser[section][key].split("\n") if line and not line.startswith("#")]


PAGES = [path for path in files() if path.suffix == ".md"]
# The README's commands for a checkout. Those that install from an index cannot be run here.
LINES = [line for block in fenced_blocks(ROOT / "README.md", "sh") for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("python3 -m venv")]


def test_the_version_stands_in_one_place() -> None:
    """A plain literal, so that setuptools can read it without importing the package."""
    tree = ast.parse((Path(autoconfig.__file__).parent / "version.py").read_text("utf-8"))
    literals = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign)]
    assert literals == [autoconfig.__version__]
    assert setup_cfg()["metadata"]["version"] == "attr: autoconfig.version.__version__"
    assert metadata.version("ld-autoconfig") == autoconfig.__version__


def test_the_changelog_has_the_version_or_unreleased_changes() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] in ("Unreleased", autoconfig.__version__)


def test_the_description_for_a_package_index_has_no_link_that_leads_nowhere_there() -> None:
    description = str(metadata.metadata("ld-autoconfig").json["description"])
    assert "# autoconfig\n" in description
    assert "The fixtures are part of the package." in description  # a link's words stay
    assert [link for link in re.findall(r"\]\(([^)]*)\)", description) if not link.startswith("https:")] == []


def test_the_readme_has_two_commands_for_a_newcomer() -> None:
    assert len(COMMANDS) == 2
    assert COMMANDS[0].endswith("autoconfig demo")
    assert COMMANDS[1].endswith("tox -e py")


@pytest.mark.parametrize("command", COMMANDS)
def test_ci_has_a_step_for_each_of_the_readmes_commands(command: str) -> None:
    """A step that does nothing but the command, to the letter, in a copy of the checkout."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    [function] = re.findall(rf"^(\w+)\(\) {{\n    {re.escape(command)}\n}}$", script, re.MULTILINE)
    assert re.search(rf"^step \S+ bash -euo pipefail -c 'in_copy {function}'", script, re.MULTILINE)
    assert re.search(rf"^export -f .*\b{function}\b", script, re.MULTILINE)


def test_ci_has_a_step_for_each_environment_of_tox() -> None:
    """Speed is measured on a quiet machine instead, and the README's command stands for 3.11."""
    environments = set(re.findall(r"^\[testenv:(.+)\]$", (ROOT / "tox.ini").read_text("utf-8"), re.MULTILINE)) - {
        "bench"
    }
    loops = re.findall(r"^for name in (.+); do$", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    assert set(" ".join(loops).split()) == environments | {"py310", "py312", "py313"}


def test_ci_tries_nothing_twice() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert not re.findall(r"--last-failed|--lf\b|--reruns|rerunfailures|\bretry\b", script)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    inner = [target for target in targets if not re.match(r"[a-z]+:", target)]
    # Sphinx takes a page's name without its suffix too.
    missing = [t for t in inner if not (page.parent / t).exists() and not (page.parent / f"{t}.md").exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_names_tests_that_exist(page: Path) -> None:
    """Above all the page on reliability, which has them for each promise."""
    named = re.findall(r"`(?:\S*pytest )?(tests/[\w./]+)", page.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists() and path != "tests/test_NAME.py"] == []


def test_the_page_on_architecture_names_the_files_that_exist() -> None:
    """Each file of the core, and none that is gone."""
    package = Path(autoconfig.__file__).parent
    named = set(re.findall(r"`((?:[a-z_]+/)?[a-z_]+\.py)`", (ROOT / "docs" / "architecture.md").read_text("utf-8")))
    core = {
        path.relative_to(package).as_posix()
        for room in ("", "stream", "dispatch", "ready_made")
        for path in (package / room).glob("[a-z]*.py")
    }
    assert core - named == set()
    exist = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    exist |= {path.name for path in package.rglob("*.py")}  # where a row names the folder first
    exist |= {path.relative_to(package.parent).as_posix() for path in package.rglob("*.py")}
    assert {name for name in named - exist if not (ROOT / name).exists()} == set()


def test_the_lowest_environment_has_the_floors() -> None:
    extras = setup_cfg()["options.extras_require"].keys() - {"docs", "examples", "tests"}
    needed = [requirements("options.extras_require", extra) for extra in extras]
    floors = set(sum(needed, requirements("options", "install_requires")))
    pins = requirements("testenv:lowest", "deps", path="tox.ini")
    assert pins == sorted((line.split(",")[0].replace(">=", "==") for line in floors), key=str.lower)


def test_the_installed_package_says_what_setup_cfg_says() -> None:
    installed = metadata.metadata("ld-autoconfig")
    assert installed["Requires-Python"] == setup_cfg()["options"]["python_requires"]
    assert set(installed.get_all("Provides-Extra", [])) == set(setup_cfg()["options.extras_require"])
    assert (Path(autoconfig.__file__).parent / "py.typed").is_file()


def test_tox_and_the_classifiers_have_the_same_pythons() -> None:
    classifiers = re.findall(r":: 3\.(\d+)$", setup_cfg()["metadata"]["classifiers"], re.MULTILINE)
    environments = re.findall(r"\bpy3(\d+)\b", (ROOT / "tox.ini").read_text("utf-8").split("[testenv]")[0])
    assert environments == classifiers


def test_no_file_holds_the_path_of_its_checkout() -> None:
    pattern = re.compile(rb"(?<![\w.~/-])" + re.escape(str(ROOT).encode()) + rb"(?![\w-])")
    assert [path for path in files() if pattern.search(path.read_bytes())] == []
