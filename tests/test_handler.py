"""What counts as a handler: an object with six methods."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from unittest.mock import MagicMock, Mock

import pytest
from support.idle import IDLE
from support.recorder import Recorder

from autoconfig import EnvironmentID, FilterID, MessageHandler
from autoconfig.handler import check_handler
from autoconfig.messages import EnvironmentRep, FilterRep

ARGUMENTS = {
    "add_environment": [EnvironmentRep().to_params()],
    "update_environment": [EnvironmentRep().to_params()],
    "received_all_environments": [],
    "delete_environment": [EnvironmentID("env-1")],
    "add_filter": [FilterRep().to_params(FilterID("filter-1"))],
    "delete_filter": [FilterID("filter-1")],
}
METHODS = list(ARGUMENTS)
each_method = pytest.mark.parametrize("method", METHODS)


def handler_without(*missing: str) -> SimpleNamespace:
    """Return an object that has nothing to do with the library but the methods' names."""
    return SimpleNamespace(**{name: print for name in METHODS if name not in missing})


class Partial(MessageHandler):
    """A subclass that cares about one thing only."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    def delete_environment(self, id: EnvironmentID) -> None:
        self.deleted.append(id)


def test_the_protocol_has_six_methods() -> None:
    """These names are the contract."""
    public = [name for name, _ in inspect.getmembers(MessageHandler, inspect.isfunction) if not name.startswith("_")]
    assert sorted(public) == sorted(METHODS)


@pytest.mark.parametrize("handler", [handler_without(), Recorder(), Partial()], ids=lambda one: type(one).__name__)
def test_any_object_with_the_methods_will_do(handler: object) -> None:
    """Inheriting is optional."""
    check_handler(handler)
    assert isinstance(handler, MessageHandler)


@each_method
def test_a_missing_method_is_named(method: str) -> None:
    """That one and no other."""
    with pytest.raises(TypeError, match=rf"^handler must have .* it lacks {method}$"):
        check_handler(handler_without(method))
    assert not isinstance(handler_without(method), MessageHandler)


@each_method
def test_something_that_cannot_be_called_is_no_method(method: str) -> None:
    """An attribute that happens to have the name would fail in the thread."""
    handler = handler_without()
    setattr(handler, method, "not callable")
    with pytest.raises(TypeError, match=rf"it lacks {method}$"):
        check_handler(handler)


@pytest.mark.parametrize("handler", [object(), print, "handler"], ids=lambda one: type(one).__name__)
def test_all_missing_methods_are_named(handler: object) -> None:
    """One error tells everything that there is to do."""
    with pytest.raises(TypeError) as caught:
        check_handler(handler)
    assert str(caught.value).endswith(f"it lacks {', '.join(METHODS)}")


@each_method
def test_what_a_subclass_does_not_override_does_nothing(method: str) -> None:
    """So a subclass implements what it cares about and no more."""
    handler = type("Empty", (MessageHandler,), {})()
    assert getattr(handler, method)(*ARGUMENTS[method]) is None
    assert vars(handler) == {}


def test_what_a_subclass_overrides_counts() -> None:
    """The other methods stay as they are."""
    handler = Partial()
    for name, arguments in ARGUMENTS.items():
        getattr(handler, name)(*arguments)
    assert handler.deleted == ["env-1"]


@pytest.mark.parametrize("method", [*METHODS, "environment_refused"])
@pytest.mark.parametrize("kind", IDLE)
def test_a_method_that_does_nothing_when_it_is_called_is_refused(kind: str, method: str) -> None:
    """Nobody would await it or iterate over it, and each change would be lost."""
    for call in IDLE[kind]:
        handler = handler_without()
        setattr(handler, method, call)
        with pytest.raises(TypeError, match=rf"^handler must have ordinary methods; {method} is {kind}$"):
            check_handler(handler)


def test_a_mock_is_a_handler() -> None:
    check_handler(Mock())
    check_handler(MagicMock())


def test_no_handler_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^handler is missing: an object with the six methods of MessageHandler$"):
        check_handler(None)


def test_a_class_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^handler must be an object, not the class Partial$"):
        check_handler(Partial)
