"""``ConfigurationStore``: the interface of a store of the last known configuration."""

from __future__ import annotations

from typing import Protocol

from .messages import CachedContent, PutContent
from .validation import check_callable


class ConfigurationStore(Protocol):
    """
    Keeps the last known configuration for the next start of the process.

    The manager makes the calls in a separate thread, one at a time. They may block. If one raises, the error is logged
    without its text, and the call is retried.
    """

    def load(self) -> CachedContent | None:
        """Return what was last saved; ``None`` if nothing was."""

    def save(self, content: PutContent) -> None:
        """Replace everything that was saved by this."""


def check_store(store: ConfigurationStore) -> ConfigurationStore:
    """
    Return an object if it has a store's methods.

    Raises:
        TypeError: It lacks one.
    """
    for name in ("load", "save"):
        check_callable(f"cache.{name}", getattr(store, name, None))
    return store
