"""Where the key comes from, and in which form a source of keys, or foreign text, is shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoconfig.identifiers import show
from autoconfig.keys import key_reader, show_key

KEY = "rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a"
OTHER = "rel-7d42a91c-3f0e-4d15-8b6a-c05e9f24d713"
RULE = "key must be printable ASCII, with no line break and no space at either end"
EMPTY = "key must not be empty"
BAD = [
    ("", EMPTY),
    (f"{KEY}\n{OTHER}", RULE),
    (f"{KEY}\r\nX-Other: 1", RULE),
    (f"{KEY}\0", RULE),
    (f"ключ-{KEY}", RULE),
]


class Mounted(os.PathLike[str]):
    """A path that is no ``pathlib.Path``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key"


def test_a_string_is_the_key() -> None:
    read = key_reader(KEY)
    assert [read(), read()] == [KEY, KEY]


@pytest.mark.parametrize(("key", "text"), [*BAD, (f" {KEY}", RULE), (f"{KEY}\n", RULE)])
def test_a_bad_string_is_an_error_at_once(key: str, text: str) -> None:
    """The key is not in the text."""
    with pytest.raises(ValueError, match=f"^{text}$"):
        key_reader(key)


@pytest.mark.parametrize("source", [None, 5, KEY.encode(), [KEY], {"key": KEY}], ids=lambda one: type(one).__name__)
def test_another_type_is_an_error_that_names_it_and_not_the_key(source: Any) -> None:
    with pytest.raises(TypeError) as caught:
        key_reader(source)
    assert str(caught.value) == f"key must be a string, a path or a function, not {type(source).__name__}"


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"{KEY}\r\n", f"\n  {KEY}\t\n\n"])
def test_a_file_holds_the_key_and_perhaps_white_space_around_it(content: str, file: Path) -> None:
    file.write_text(content, newline="")
    assert key_reader(file)() == KEY


@pytest.mark.parametrize("kind", [Path, Mounted])
def test_a_file_is_read_each_time(kind: Any, file: Path) -> None:
    read = key_reader(kind(file))
    for key in KEY, OTHER:
        file.write_text(key)
        assert read() == key


def test_a_file_need_not_be_there_yet(file: Path) -> None:
    read = key_reader(file)
    with pytest.raises(FileNotFoundError):
        read()
    file.write_text(KEY)
    assert read() == KEY


@pytest.mark.parametrize(("content", "text"), [*BAD, (" \n", EMPTY)])
def test_a_files_bad_content_is_an_error_when_it_is_read(content: str, text: str, file: Path) -> None:
    file.write_text(content, "utf-8", newline="")
    read = key_reader(file)
    with pytest.raises(ValueError, match=f"^{text}$"):
        read()


def test_a_file_of_other_bytes_is_an_error_when_it_is_read(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="codec can't decode"):
        key_reader(file)()


def test_a_function_is_asked_each_time() -> None:
    keys = iter([KEY, OTHER])
    read = key_reader(lambda: next(keys))
    assert [read(), read()] == [KEY, OTHER]


def test_a_function_is_not_asked_before_its_time() -> None:
    def never() -> str:
        raise AssertionError("asked in the constructor")

    key_reader(never)


@pytest.mark.parametrize(("key", "text"), [*BAD, (f"{KEY}\n", RULE)])
def test_a_functions_bad_key_is_an_error_when_it_is_asked(key: str, text: str) -> None:
    read = key_reader(lambda: key)
    with pytest.raises(ValueError, match=f"^{text}$"):
        read()


@pytest.mark.parametrize("key", [None, 5, KEY.encode()], ids=lambda one: type(one).__name__)
def test_a_functions_result_of_another_type_is_an_error_when_it_is_asked(key: Any) -> None:
    read = key_reader(lambda: key)
    with pytest.raises((TypeError, ValueError), match=f"key must be a string, not {type(key).__name__}"):
        read()


def test_what_a_function_raises_is_left_as_it_is() -> None:
    error = LookupError("no secrets manager")

    def fail() -> str:
        raise error

    with pytest.raises(LookupError) as caught:
        key_reader(fail)()
    assert caught.value is error


def test_a_source_is_shown_without_the_key(file: Path) -> None:
    file.write_text(KEY)
    assert show_key(KEY) == "rel-…9f2a"
    assert show_key(file) == show_key(Mounted(file)) == f"the key in {str(file)!r}"
    assert show_key(lambda: KEY) == "a key that is asked for"


# Foreign text


@pytest.mark.parametrize("prefix", ["api-", "mob-", "rel-", "sdk-"])
def test_what_looks_like_a_key_is_masked_in_foreign_text(prefix: str) -> None:
    """Wherever it stands, and however often."""
    key, masked = prefix + KEY.removeprefix("rel-"), f"{prefix}\\u20269f2a"
    assert show(f"<{key}>{key}") == f"'<{masked}>{masked}'"


@pytest.mark.parametrize("text", ["", "e1", "prod", "sdk-", "sdk-1234567", "/environments/64c1f0a2b7e94d0012ab3c02"])
def test_what_does_not_look_like_a_key_is_shown(text: str) -> None:
    assert show(text) == repr(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\r", "'a\\nb\\r'"), ("\x1b[31m\0", "'\\x1b[31m\\x00'"), ("ключ", ascii("ключ")), ("'", '"\'"')],
)
def test_control_characters_and_others_are_escaped(text: str, shown: str) -> None:
    """A line of a log stays one line."""
    assert show(text) == shown


@settings(deadline=None)
@given(st.text())
def test_foreign_text_is_printable_ascii_and_short(text: str) -> None:
    shown = show(text)
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) <= 2 + 100 * len("\\U0010ffff")


def test_a_hundred_characters_of_foreign_text_are_shown() -> None:
    assert show("x" * 100) == f"'{'x' * 100}'"
    assert show("x" * 101) == f"'{'x' * 100}'"


@settings(deadline=None)
@given(st.text("0123456789abcdef-", min_size=32, max_size=36), st.text('é\n {"', max_size=120), st.text(max_size=50))
def test_no_key_is_shown_whole(secret: str, before: str, after: str) -> None:
    assert secret not in show(f"{before}sdk-{secret}{after}")


@pytest.mark.parametrize(
    "written",
    [
        f"\ufeff{KEY}",
        f"\ufeff{KEY}\r\n",
        f"{KEY}\n",
        f"{KEY}\r\n",
        f"{KEY}  \t\n\n",
        f"\n\n  {KEY}\r\n\r\n",
        f"{KEY}\x00"[:-1],
    ],
    ids=["mark", "mark and CRLF", "LF", "CRLF", "spaces", "blank lines", "plain"],
)
def test_what_editors_leave_in_a_file_is_no_part_of_the_key(written: str, tmp_path: Path) -> None:
    """PowerShell writes UTF-16."""
    path = tmp_path / "key"
    for data in written.encode(), written.removeprefix("\ufeff").encode("utf-16"):
        path.write_bytes(data)
        assert key_reader(path)() == KEY


def test_a_change_of_directory_is_no_other_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(KEY)
    monkeypatch.chdir(file.parent)
    read = key_reader(Path(file.name))
    monkeypatch.chdir("/")
    assert read() == KEY
