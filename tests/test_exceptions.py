"""The exception tree is the one that is documented, and its members travel between processes."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

import autoconfig
from autoconfig import AutoConfigError, ClosedError, ForkedError, KeyRejectedError, NotReadyError, exceptions
from autoconfig.exceptions import (
    ConnectionFailedError,
    EventTooLargeError,
    MalformedMessageError,
    StreamEndedError,
    StreamError,
    UnexpectedStatusError,
)

EXAMPLES = [
    AutoConfigError("text"),
    KeyRejectedError(401),
    ClosedError("closed before the first connection"),
    ForkedError(),
    NotReadyError("no full configuration within 5 s"),
    StreamError("text"),
    ConnectionFailedError("Connection refused"),
    UnexpectedStatusError(503),
    StreamEndedError("the service ended the stream"),
    EventTooLargeError(64 * 2**20),
    MalformedMessageError("put", "version must be a 64-bit integer, not a string"),
]
each_example = pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)


def defined() -> dict[str, type[Exception]]:
    """Return the exceptions that the module defines, by name."""
    members = vars(exceptions).items()
    return {name: one for name, one in members if isinstance(one, type) and issubclass(one, Exception)}


def drawn() -> dict[str, str]:
    """Return the tree that the module's docstring draws: each name's parent."""
    parents: dict[str, str] = {}
    branch = {-1: "Exception"}
    for line in (exceptions.__doc__ or "").splitlines():
        if found := re.match(r"    [│├└─ ]*([A-Za-z]+Error)\b", line):
            depth = (found.start(1) - 4) // 4
            parents[found[1]] = branch[depth - 1]
            branch[depth] = found[1]
    return parents


def test_the_tree_is_the_one_drawn() -> None:
    """Every class hangs where the module's docstring says, and none is left out."""
    assert {name: one.__bases__[0].__name__ for name, one in defined().items()} == drawn()
    assert set(defined().values()) == {type(error) for error in EXAMPLES}


def test_what_is_raised_to_callers_can_be_imported_from_the_package() -> None:
    """The errors that the reader logs and retries stay in their module: no caller can catch one."""
    raised = {name for name, one in defined().items() if not issubclass(one, StreamError)}
    assert {name for name in autoconfig.__all__ if name.endswith("Error")} == raised


@each_example
def test_one_base_suffices(error: Exception) -> None:
    """``except AutoConfigError`` catches whatever the library raises of its own."""
    assert isinstance(error, AutoConfigError)


@each_example
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_everything(error: Exception, protocol: int) -> None:
    """A future's exception may cross to another process."""
    check_same(pickle.loads(pickle.dumps(error, protocol)), error)


@each_example
def test_copying_keeps_everything(error: Exception) -> None:
    """Both kinds of copy, which use the same protocol as pickle."""
    check_same(copy.copy(error), error)
    check_same(copy.deepcopy(error), error)


def check_same(twin: object, error: Exception) -> None:
    """Compare class, text, arguments and attributes."""
    assert type(twin) is type(error)
    assert twin is not error
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert isinstance(twin, Exception)
    assert twin.args == error.args


class OwnKeyRejectedError(KeyRejectedError):
    """A subclass, as an application may define one."""


def test_pickling_keeps_a_subclass() -> None:
    """The class that comes back is the one that went."""
    check_same(pickle.loads(pickle.dumps(OwnKeyRejectedError(403))), OwnKeyRejectedError(403))


@pytest.mark.parametrize("status", [401, 403])
def test_a_rejection_has_its_status(status: int) -> None:
    """Both as a number and in words."""
    error = KeyRejectedError(status)
    assert error.status == status
    assert str(error) == f"the service rejected the auto-configuration key (HTTP status {status})"


def test_an_unexpected_status_has_its_number() -> None:
    """Both as a number and in words."""
    error = UnexpectedStatusError(502)
    assert error.status == 502
    assert str(error) == "unexpected HTTP status 502"


def test_a_too_large_event_names_the_limit_and_the_option() -> None:
    """Who meets it can see what to change."""
    error = EventTooLargeError(1000)
    assert error.limit == 1000
    assert "1000 bytes" in str(error)
    assert "HTTPConfig.max_event_bytes" in str(error)


def test_a_malformed_message_names_event_and_reason() -> None:
    """Both as attributes and in words."""
    error = MalformedMessageError("patch", "nested too deeply")
    assert (error.event, error.reason) == ("patch", "nested too deeply")
    assert str(error) == 'malformed "patch" event: nested too deeply'
