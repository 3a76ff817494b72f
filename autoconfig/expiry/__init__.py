"""Calls you back when a key expires."""

from .schedule import ExpiredKey, KeyKind
from .watcher import ExpiryWatcher

__all__ = ["ExpiredKey", "ExpiryWatcher", "KeyKind"]
