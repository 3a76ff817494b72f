"""The application's logger: whatever it raises, the stream goes on and says what it has to say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from support.managing import managed
from support.recorder import Failing, Recorder
from support.samples import put_item
from support.scripted_server import ScriptedServer
from support.waiting import wait_until

from autoconfig import KeyRejectedError, StreamState
from autoconfig.safe_logger import SafeLogger

SECONDS = 30.0  # a deadline for what takes milliseconds


class Refusing(logging.Filter):
    """Raises for each line."""

    def filter(self, record: logging.LogRecord) -> bool:
        raise RuntimeError("no log today")


@pytest.fixture
def broken() -> logging.Logger:
    logger = logging.Logger("broken")  # noqa: LOG001  # of its own, because its filter must not stay
    logger.addFilter(Refusing())
    return logger


def test_a_line_is_the_callers(caplog: pytest.LogCaptureFixture) -> None:
    """Not that of the module in between."""
    logger = SafeLogger(logging.getLogger("tests.safe"))
    logger.warning("one %s", "argument")
    try:
        raise ValueError
    except ValueError:
        logger.exception("two", extra={"id": 7})
    logger.log(logging.WARNING, "three")
    assert caplog.messages == ["one argument", "two", "three"]
    for record in caplog.records:
        assert (record.filename, record.funcName) == (Path(__file__).name, "test_a_line_is_the_callers")
    assert caplog.records[1].exc_info
    assert vars(caplog.records[1])["id"] == 7


def test_an_adapter_of_the_applications_keeps_its_own_ways(caplog: pytest.LogCaptureFixture) -> None:
    adapter = logging.LoggerAdapter(logging.getLogger("tests.safe"), {"tenant": "north"})
    SafeLogger(adapter).error("three")
    assert vars(caplog.records[0])["tenant"] == "north"


def test_what_the_logger_raises_goes_nowhere(broken: logging.Logger) -> None:
    SafeLogger(broken).error("lost")


@pytest.mark.parametrize("logger", ["autoconfig", 1, print, object()], ids=lambda one: type(one).__name__)
def test_it_has_to_be_a_logger(logger: Any) -> None:
    with pytest.raises(TypeError, match=r"^logger must be a logging.Logger or a LoggerAdapter, not "):
        SafeLogger(logger)


class Unsure(logging.Logger):
    """Cannot say which lines it wants."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # the name that logging has given it
        raise RuntimeError("no level today")


def test_a_stream_whose_logger_does_not_say_what_it_wants_is_ready() -> None:
    recorder, logger = Recorder(), Unsure("unsure")
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder, logger=logger) as manager:
        manager.start()
        manager.wait_until_ready(SECONDS)
        assert recorder.names == ["add_environment", "received_all_environments"]


def test_a_stream_with_a_logger_that_raises_is_ready(broken: logging.Logger) -> None:
    recorder = Recorder()
    with ScriptedServer([[put_item("e1")]]) as server, managed(server.url, recorder, logger=broken) as manager:
        manager.start().result(SECONDS)
        recorder.wait_for_calls(2)
        assert len(server.requests) == 1


def test_a_refused_key_is_told_all_the_same(broken: logging.Logger) -> None:
    with ScriptedServer([[{"status": 401}]]) as server, managed(server.url, logger=broken) as manager:
        assert isinstance(manager.start().exception(SECONDS), KeyRejectedError)
        assert manager.status.state is StreamState.OFF


def test_a_failing_call_keeps_no_other_from_being_made(broken: logging.Logger) -> None:
    handler = Failing(lambda name, params: OSError() if name == "add_environment" and params.env_id == "e1" else None)
    with (
        ScriptedServer([[put_item("e1", "e2", "e3")]]) as server,
        managed(server.url, handler, logger=broken, slow_callback=1e-9) as manager,
    ):
        manager.start()
        handler.wait_for_calls(4)
        assert [getattr(argument, "env_id", None) for _, argument in handler.returned] == ["e2", "e3", None]
        wait_until(lambda: manager.status.pending_retries == 1)
