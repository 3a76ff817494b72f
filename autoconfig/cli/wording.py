"""The handler's calls in JSON, and in words."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import attrs

from ..environments import EnvironmentParams, ExpiringSDKKey, FilterParams
from .calls import Call, Picture
from .output import printable

Show = Callable[[str], str]
"""How a secret is shown: ``mask``, or ``str`` for all of it."""


def call_json(call: Call, show: Show) -> str:
    """Return a call as a JSON object in one line of ASCII."""
    fields: dict[str, Any] = {"call": call.name}
    match call.argument:
        case EnvironmentParams() as params:
            fields["params"] = _environment_fields(params, show)
        case FilterParams(proj_key=proj_key, id=id, key=key):
            fields["params"] = {"id": id, "key": key, "projKey": proj_key}
        case str(id):
            fields["id"] = id
    return json.dumps(fields)


def _environment_fields(params: EnvironmentParams, show: Show) -> dict[str, Any]:
    names, expiring = params.identifiers, params.expiring_sdk_key
    return {
        "envID": params.env_id,
        "envKey": names.env_key,
        "envName": names.env_name,
        "projKey": names.proj_key,
        "projName": names.proj_name,
        "mobKey": show(params.mobile_key),
        "sdkKey": show(params.sdk_key),
        "expiringSdkKey": expiring
        and {"value": show(expiring.key), "expiration": expiring.expiration.isoformat(timespec="milliseconds")},
        "ttl": params.ttl // timedelta(seconds=1),
        "secureMode": params.secure_mode,
    }


@attrs.frozen
class Wording:
    """
    A call in words.

    Attributes:
        title: What it is about.
        facts: What the handler is told of that; of an update, what is different.
    """

    title: str
    facts: list[str]


class Narrator:
    """
    Puts calls into words; they must come in their order, because an update's words depend on what was known before.

    Args:
        show: How secrets are shown.

    Attributes:
        picture: What the calls so far add up to.
    """

    def __init__(self, show: Show) -> None:
        self.picture = Picture()
        self._show = show

    def put(self, call: Call) -> Wording:
        """Return a call in words."""
        before = self.picture.apply(call)
        now = call.argument
        if isinstance(now, EnvironmentParams):
            if isinstance(before, EnvironmentParams):
                return Wording(title(now), self._differences(before, now) or ["nothing that the handler is told"])
            return Wording(title(now), self._properties(now))
        if isinstance(now, FilterParams):
            return Wording(title(now), [])
        if now is None:
            return Wording(self.totals(), [])
        return Wording(title(before) if before else printable(now), [])

    def totals(self) -> str:
        """Return how many environments and filters there are."""
        return totals(len(self.picture.environments), len(self.picture.filters))

    def _properties(self, params: EnvironmentParams) -> list[str]:
        facts = [self._key(params.sdk_key), self._key(params.mobile_key)]
        if params.expiring_sdk_key:
            facts.append(self._expiring(params.expiring_sdk_key))
        if params.ttl:
            facts.append(f"TTL {duration(params.ttl)}")
        if params.secure_mode:
            facts.append("secure mode")
        return [fact for fact in facts if fact]

    def _differences(self, before: EnvironmentParams, now: EnvironmentParams) -> list[str]:
        old, new = before.identifiers, now.identifiers
        pairs = [
            ("name", printable(old.env_name), printable(new.env_name)),
            ("key", printable(old.env_key), printable(new.env_key)),
            ("project name", printable(old.proj_name), printable(new.proj_name)),
            ("project key", printable(old.proj_key), printable(new.proj_key)),
            ("SDK key", self._key(before.sdk_key), self._key(now.sdk_key)),
            ("mobile key", self._key(before.mobile_key), self._key(now.mobile_key)),
            ("TTL", duration(before.ttl), duration(now.ttl)),
            ("secure mode", *("on" if params.secure_mode else "off" for params in (before, now))),
        ]
        facts = [f"{name} {one or 'none'} → {other or 'none'}" for name, one, other in pairs if one != other]
        if before.expiring_sdk_key != now.expiring_sdk_key:
            facts.append(self._expiring(now.expiring_sdk_key) if now.expiring_sdk_key else "no expiring SDK key")
        return facts

    def _key(self, secret: str) -> str:
        return printable(self._show(secret))

    def _expiring(self, expiring: ExpiringSDKKey) -> str:
        return f"{self._key(expiring.key)} valid until {moment(expiring.expiration)}"


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
