"""The wire's times as Python has them; those that Python cannot hold become the nearest that it can."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_FIRST, _LAST = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)


@lru_cache(maxsize=256)  # environments share a few values, so most of them share one timedelta
def minutes(number: int) -> timedelta:
    """Return a number of minutes as a timedelta."""
    try:
        return timedelta(minutes=number)
    except OverflowError:
        return timedelta.max if number > 0 else timedelta.min


def instant(timestamp: int) -> datetime:
    """Return a number of milliseconds since 1970 as an aware UTC datetime; exact, unlike a float's way."""
    try:
        return _EPOCH + timedelta(milliseconds=timestamp)
    except OverflowError:
        return _LAST if timestamp > 0 else _FIRST
