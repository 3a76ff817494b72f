"""Names, numbers and times in words."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from ..environments import EnvironmentParams, FilterParams
from .output import printable

Show = Callable[[str], str]
"""How a secret is shown: ``mask``, or ``str`` for all of it."""


def title(params: EnvironmentParams | FilterParams) -> str:
    """Return what an environment or filter is called."""
    if isinstance(params, FilterParams):
        return printable(f"filter {params.key or params.id} of project {params.proj_key}")
    names = params.identifiers
    return printable(f"{names.proj_name or names.proj_key} / {names.env_name or names.env_key or params.env_id}")


def totals(environments: int, filters: int) -> str:
    """Return how many environments and filters there are, in words."""
    return f"{counted(environments, 'environment')}, {counted(filters, 'filter')}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(instant: datetime) -> str:
    """Return an instant as the clock on the wall has it, with the date if it is another day's."""
    local, today = _local(instant), datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M")


def _local(instant: datetime) -> datetime:
    try:
        return instant.astimezone()
    except OverflowError:  # the end of the calendar, in a time zone ahead of UTC
        return instant


def duration(length: timedelta) -> str:
    """Return a length of time in its two largest units."""
    seconds = length // timedelta(seconds=1)
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    if seconds < 0:
        return f"-{duration(-length)}"
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")]
    first = next((place for place, (number, _) in enumerate(parts) if number), len(parts))
    return " ".join(f"{number} {unit}" for number, unit in parts[first : first + 2] if number) or "0"


def age(seconds: float) -> str:
    """Return how long ago something was, in seconds only in its first minute."""
    step = 1 if seconds < 60 else 60
    return duration(timedelta(seconds=seconds // step * step)) if seconds >= 1 else "0 s"


def filter_title(params: FilterParams) -> str:
    """Return a payload filter in few words."""
    return printable(f"{params.key or params.id} ({params.proj_key})")


def brief_time(seconds: float) -> str:
    """Return how long something took, for people who compare it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
