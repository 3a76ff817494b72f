"""What a reader is given in place of a network and of time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from autoconfig import KeyRejectedError, RetryPolicy
from autoconfig.exceptions import StreamEndedError
from autoconfig.messages import Batch, Message
from autoconfig.status_tracker import StatusTracker
from autoconfig.stream import failures, reader
from autoconfig.stream.cancel import CancelToken
from autoconfig.stream.connection import Connector
from autoconfig.stream.retry import RetryPlan
from autoconfig.stream.source import EventStream

Step = bytes | BaseException | Callable[[], object]
"""A piece of a stream, an error in place of one, or something to be done in between."""

Attempt = Sequence[Step] | BaseException | Callable[[], BaseException]
"""The steps of a stream, or the error that there is instead of one, or what is to be done to get that error."""


class StubConnector(Connector):
    """
    Makes connections out of a script, and cancels the token at its end.

    Args:
        token: Cancelled when there is no further connection.
        attempts: What comes of each attempt.

    Attributes:
        ids: The last event id of each attempt.
        open: How many connections are open.
    """

    def __init__(self, token: CancelToken, attempts: Sequence[Attempt]) -> None:
        self.ids: list[str] = []
        self.open = 0
        self._cancel = token.cancel
        self._attempts = iter(attempts)

    @contextmanager
    def connect(self, last_event_id: str) -> Iterator[Iterator[bytes]]:
        attempt = next(self._attempts, None)
        if attempt is None:
            self._cancel()
            raise StreamEndedError("the end of the script")
        self.ids.append(last_event_id)
        if callable(attempt):
            raise attempt()
        if isinstance(attempt, BaseException):
            raise attempt
        self.open += 1
        try:
            yield play(attempt)
        finally:
            self.open -= 1


def play(steps: Sequence[Step]) -> Iterator[bytes]:
    """Yield the pieces of a stream, and then raise what a stream's end raises."""
    for step in steps:
        if isinstance(step, bytes):
            yield step
        elif isinstance(step, BaseException):
            raise step
        else:
            step()
    raise StreamEndedError("the service ended the stream")


class PatientToken(CancelToken):
    """A token on which waiting takes no time; it notes how long it would have taken."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.waits.append(timeout)
        return self.cancelled


class Clock:
    """Stands in for the module ``time`` of the reader and of its log; goes on only when it is told to."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 5000.0
        for module in reader, failures:
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))

    def goes_on(self, seconds: float) -> Callable[[], None]:
        """Return a step of a script that lets so much time go by."""

        def go_on() -> None:
            self.now += seconds

        return go_on


class SignallingQueue(queue.Queue[Batch]):
    """A queue that tells when someone waits for room in it."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.waited_for = threading.Event()

    def put(self, item: Batch, block: bool = True, timeout: float | None = None) -> None:
        if self.full():
            self.waited_for.set()
        super().put(item, block, timeout)


def steady_plan(initial_delay: float = 1.0, policy: RetryPolicy | None = None) -> RetryPlan:
    """Return a plan without chance."""
    return RetryPlan(initial_delay, policy or RetryPolicy(), lambda: 0.0)


def make_reader(
    connector: StubConnector,
    batches: queue.Queue[Batch],
    token: CancelToken,
    plan: RetryPlan | None = None,
    *,
    on_connected: Callable[[], None] = lambda: None,
    max_event_bytes: int = 2**20,
    stop_on_rejection: bool = True,
) -> reader.StreamReader:
    """Return a reader whose delays are not left to chance."""
    logger = logging.getLogger("autoconfig")
    return reader.StreamReader(
        EventStream(connector, max_event_bytes, logger),
        batches,
        token,
        plan or steady_plan(),
        StatusTracker(logger),
        stop_on_rejection=stop_on_rejection,
        on_connected=on_connected,
        logger=logger,
    )


class Run:
    """
    A reader that has read a whole script, inline.

    Args:
        attempts: What comes of each attempt; after the last one the token is cancelled.
        options: Those of :func:`make_reader`.

    Attributes:
        ids: The last event id of each attempt.
        error: What the reader raised.
    """

    def __init__(self, *attempts: Attempt, **options: Any) -> None:
        self._token = PatientToken()
        self._batches: queue.Queue[Batch] = queue.Queue()
        self.error: KeyRejectedError | None = None
        connector = StubConnector(self._token, attempts)
        try:
            make_reader(connector, self._batches, self._token, **options).run()
        except KeyRejectedError as error:
            self.error = error
        assert connector.open == 0
        self.ids = connector.ids

    @property
    def delays(self) -> list[float]:
        """How long the reader waited after each attempt of the script."""
        return self._token.waits[: len(self.ids)]

    @property
    def handed_over(self) -> list[list[Message]]:
        """What came into the queue."""
        return [self._batches.get_nowait() for _ in range(self._batches.qsize())]
