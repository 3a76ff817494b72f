"""The handler's calls in words."""

from __future__ import annotations

import attrs

from ..environments import EnvironmentParams, FilterParams
from .calls import Call, Picture
from .output import printable
from .params import expiring_keys
from .wording import Show, duration, moment, title, totals


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
                return Wording(title(now), self._differences(before, now))
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
        facts = [self._key(params.sdk_key), self._key(params.mobile_key), *self._expiring(params)]
        if params.ttl:
            facts.append(f"TTL {duration(params.ttl)}")
        if params.secure_mode:
            facts.append("secure mode")
        return [fact for fact in facts if fact]

    def _differences(self, before: EnvironmentParams, now: EnvironmentParams) -> list[str]:
        old, new = before.identifiers, now.identifiers
        pairs = [
            ("name", old.env_name, new.env_name, printable),
            ("key", old.env_key, new.env_key, printable),
            ("project name", old.proj_name, new.proj_name, printable),
            ("project key", old.proj_key, new.proj_key, printable),
            ("SDK key", before.sdk_key, now.sdk_key, self._key),
            ("mobile key", before.mobile_key, now.mobile_key, self._key),
            ("TTL", before.ttl, now.ttl, duration),
            ("secure mode", before.secure_mode, now.secure_mode, _switch),
        ]
        facts = [
            f"{name} {put(one) or 'none'} → {put(other) or 'none'}"  # type: ignore[operator]
            for name, one, other, put in pairs
            if one != other
        ]
        if expiring_keys(before) != expiring_keys(now):
            facts += self._expiring(now) or [_end_of_expiring(before, now)]
        if not facts and before.accepted_sdk_keys != now.accepted_sdk_keys:
            facts.append("accepted SDK keys")
        if not facts and before.accepted_mobile_keys != now.accepted_mobile_keys:
            facts.append("accepted mobile keys")
        return facts or ["other fields" if before != now else "nothing that the handler is told"]

    def _key(self, secret: str) -> str:
        return printable(self._show(secret))

    def _expiring(self, params: EnvironmentParams) -> list[str]:
        return [f"{self._key(value)} valid until {moment(end)}" for value, end in expiring_keys(params)]


def _end_of_expiring(before: EnvironmentParams, now: EnvironmentParams) -> str:
    """Return what became of the keys that were to expire, of which none is to any more."""
    accepted = {key.value for key in (*now.accepted_sdk_keys, *now.accepted_mobile_keys)}
    gone = [value for value, _ in expiring_keys(before) if value not in accepted]
    if not gone:
        return "no expiring key"
    return "the old key is no longer accepted" if len(gone) == 1 else "the old keys are no longer accepted"


def _switch(on: bool) -> str:
    return "on" if on else "off"
