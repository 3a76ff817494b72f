"""Writing lines: nothing secret, nothing that moves the cursor."""

from __future__ import annotations

import pytest

from autoconfig.cli.output import CommandError, complain, held_errors, put_error, shown_uri, warn

KEY = "rel-0123456789abcdef0123456789abcdef"
Capture = pytest.CaptureFixture[str]


def test_an_error_is_two_harmless_lines(capsys: Capture) -> None:
    complain(CommandError("FILE", f"no\n'{KEY}'\x1b[2J and sdk-x.sse", f"not {KEY}"))
    assert capsys.readouterr().err == (
        "autoconfig: error: FILE: no\\n'rel-…cdef'\\x1b[2J and sdk-x.sse\n  try: not rel-…cdef\n"
    )


def test_a_warning_is_a_harmless_line(capsys: Capture) -> None:
    warn("refused", f"{KEY}\n")
    assert capsys.readouterr().err == "autoconfig: warning: refused: rel-…cdef\\n\n"


def test_errors_are_held_on_a_terminal_only(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    with held_errors() as lines:
        put_error("at once")
    assert (list(lines), capsys.readouterr().err) == ([], "at once\n")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with held_errors() as lines:
        put_error("later")
        assert (list(lines), capsys.readouterr().err) == (["later"], "")
    assert capsys.readouterr().err == "later\n"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://host/path?key=secret#secret", "https://host/path"),
        ("https://host#secret", "https://host"),
        ("http://user:secret@host:3128", "http://host:3128"),
        ("http://user:se@cret@host:3128/", "http://host:3128/"),
        ("http://user:sec?ret@host:3128", "http://…"),
        ("http://user:sec#ret@host:3128", "http://…"),
        ("http://user:sec/ret@host:3128", "http://…"),
        ("https://host/path?address=secret@secret", "https://…"),
        ("ftp:user:secret@host", "…"),
        ("//user:secret@host", "…"),
        ("http://host/\x1b[2J", "http://host/\\x1b[2J"),
    ],
)
def test_a_uri_is_shown_without_what_may_be_secret(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown
