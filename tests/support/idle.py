"""Functions that do nothing when they are only called."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from unittest.mock import AsyncMock


async def coroutine(*_: object) -> None:
    """Do nothing."""


def generator(*_: object) -> Iterator[None]:
    """Do nothing."""
    yield


async def asynchronous_generator(*_: object) -> AsyncIterator[None]:
    """Do nothing."""
    yield


class CoroutineObject:
    """It can be called, but that alone does nothing."""

    async def __call__(self, *_: object) -> None:
        """Do nothing."""


IDLE: dict[str, list[Callable[..., object]]] = {
    "a coroutine function": [coroutine, partial(coroutine, 1), CoroutineObject(), AsyncMock()],
    "a generator function": [generator],
    "an asynchronous generator function": [asynchronous_generator],
}
