"""A call back when the time of an expiring key has come."""

from .schedule import ExpiredKey, KeyKind
from .watcher import ExpiryWatcher

__all__ = ["ExpiredKey", "ExpiryWatcher", "KeyKind"]
