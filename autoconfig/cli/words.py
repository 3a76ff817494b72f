"""Environments, changes, times and states: in words for people, in the wire's form and as variables for programs."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from ..environments import AcceptedKey, EnvironmentParams, FilterParams, KeyRep, ViewKey
from ..frozen import FrozenDict
from ..identifiers import MobileKey, SDKKey
from ..messages import EnvironmentRep, ExpiringKeyRep, SDKKeyRep
from ..ready_made.registry import EnvironmentRegistry
from ..status import StreamState, StreamStatus
from .output import printable, timestamp

Show = Callable[[str], str]
"""How a secret is shown: ``mask``, or ``str`` for all of it."""

_VARIABLES = {  # how their names begin
    "relay-env": ["LD_ENV", "LD_MOBILE_KEY", "LD_CLIENT_SIDE_ID", "LD_SECURE_MODE", "LD_TTL"],
    "dotenv": ["LAUNCHDARKLY_SDK_KEY", "LAUNCHDARKLY_MOBILE_KEY", "LAUNCHDARKLY_CLIENT_SIDE_ID"],
}
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_NO_NAME = re.compile(r"[^0-9A-Za-z]+")  # what the name of a variable may not hold


def title(params: EnvironmentParams | FilterParams) -> str:
    """Return what an environment or filter is called."""
    if isinstance(params, FilterParams):
        return printable(f"filter {params.key or params.id} of project {params.proj_key}")
    return printable(f"{project_name(params)} / {environment_name(params)}")


def project_name(params: EnvironmentParams) -> str:
    """Return the name of an environment's project, or its key if it has no name."""
    return params.identifiers.proj_name or params.identifiers.proj_key


def environment_name(params: EnvironmentParams) -> str:
    """Return an environment's name, or else its key, or else its id."""
    return params.identifiers.env_name or params.identifiers.env_key or params.env_id


def filter_title(params: FilterParams) -> str:
    """Return a payload filter in few words."""
    return printable(f"{params.key or params.id} ({params.proj_key})")


def sort_key(params: EnvironmentParams) -> tuple[str, str, str]:
    """Return the key by which environments are sorted for people."""
    return project_name(params).casefold(), environment_name(params).casefold(), params.env_id


def totals(environments: int, filters: int) -> str:
    """Return how many environments and filters there are."""
    return f"{counted(environments, 'environment')}, {counted(filters, 'filter')}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def moment(instant: datetime) -> str:
    """Return an instant in local time, with the date unless it is today's."""
    try:
        local = instant.astimezone()
    except OverflowError:  # the end of the calendar, in a time zone ahead of UTC
        local = instant
    return local.strftime("%H:%M:%S" if local.date() == datetime.now().astimezone().date() else "%Y-%m-%d %H:%M")


def duration(seconds: float, units: int = 2) -> str:
    """Return a length of time in its largest units; ``""`` for less than a second."""
    rest, parts = int(abs(seconds)), []
    for size, unit in (86400, "d"), (3600, "h"), (60, "min"), (1, "s"):
        parts.append(f"{rest // size} {unit}" if rest >= size else "")
        rest %= size
    largest = next((place for place, part in enumerate(parts) if part), 0)
    return "-" * (seconds <= -1) + " ".join(filter(None, parts[largest : largest + units]))


def age(seconds: float) -> str:
    """Return how long ago something was, in its largest unit."""
    return duration(max(0.0, seconds), 1) or "0 s"


def ttl(params: EnvironmentParams) -> str:
    """Return for how long clients of an environment may cache."""
    return duration(params.ttl.total_seconds()) or "none"


def brief_time(seconds: float) -> str:
    """Return how long something took, for people who compare it."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def expiring_keys(params: EnvironmentParams) -> list[tuple[str, datetime]]:
    """Return the keys of an environment that end at a known time, and these times, the first to end first."""
    listed = [*params.accepted_sdk_keys, *params.accepted_mobile_keys]
    ends = {key.value: key.expiration for key in listed if key.expiration}
    return sorted(ends.items(), key=lambda entry: entry[1])


def properties(params: EnvironmentParams, show: Show) -> list[str]:
    """Return in words what a handler gets about an environment, except its names."""
    keys = [params.accepted_sdk_keys, params.accepted_mobile_keys]
    facts = [", ".join(printable(show(key.value)) for key in kind if key.expiration is None) for kind in keys]
    facts += [*expiries(params, show), f"TTL {ttl(params)}" * bool(params.ttl), "secure mode" * params.secure_mode]
    return [fact for fact in facts if fact]


def expiries(params: EnvironmentParams, show: Show) -> list[str]:
    """Return in words until when the keys that end are accepted."""
    return [f"{printable(show(value))} until {moment(end)}" for value, end in expiring_keys(params)]


def differences(before: EnvironmentParams, now: EnvironmentParams, show: Show) -> list[str]:
    """Return in words what is different in an environment."""
    old, new = before.identifiers, now.identifiers
    pairs = [
        ("name", old.env_name, new.env_name),
        ("key", old.env_key, new.env_key),
        ("project name", old.proj_name, new.proj_name),
        ("project key", old.proj_key, new.proj_key),
        ("SDK key", show(before.sdk_key), show(now.sdk_key)),
        ("mobile key", show(before.mobile_key), show(now.mobile_key)),
        ("TTL", ttl(before), ttl(now)),
        ("secure mode", *("on" if params.secure_mode else "off" for params in (before, now))),
    ]
    facts = [
        f"{name} {printable(one) or 'none'} → {printable(two) or 'none'}" for name, one, two in pairs if one != two
    ]
    facts += _key_changes(before, now, show)
    return facts or ["other fields" if before != now else "no visible change"]


def _key_changes(before: EnvironmentParams, now: EnvironmentParams, show: Show) -> list[str]:
    """Return in words which keys besides the main ones came, went, or got another end."""
    facts = expiries(now, show) if expiring_keys(before) != expiring_keys(now) else []
    told = {now.sdk_key, now.mobile_key, *(value for value, _ in expiring_keys(now))}
    old, new = (
        [key.value for key in (*params.accepted_sdk_keys, *params.accepted_mobile_keys)] for params in (before, now)
    )
    facts += [f"{printable(show(key))} is accepted too" for key in new if key not in old and key not in told]
    facts += [f"{printable(show(key))} is no longer accepted" for key in old if key not in new]
    return facts


def state_words(status: StreamStatus, now: datetime) -> str:
    """Return since when there is a connection, or when the next attempt to make one begins."""
    if status.state is StreamState.OFF:
        return "ended"
    if status.connected_since:
        return f"connected for {age((now - status.connected_since).total_seconds())}"
    if status.next_retry_at and status.next_retry_at > now:
        # Rounded up, so that it does not say "in 0 s" for a second.
        return f"next attempt in {age(int((status.next_retry_at - now).total_seconds()) + 1)}"
    return "connecting"


def last_error_words(status: StreamStatus, now: datetime) -> str:
    """Return the last error, and how long ago it was; ``""`` if there was none."""
    error = status.last_error
    if error is None:
        return ""
    words = f"{printable(error.message)}, {age((now - error.time).total_seconds())} ago"
    if status.failed_attempts > 1:
        words += f" ({counted(status.failed_attempts, 'failed attempt')} so far)"
    return words if is_failing(status) else f"last error: {words}"


def is_failing(status: StreamStatus) -> bool:
    """Return whether the last error still keeps the stream from working."""
    return status.last_error is not None and (status.connected_since is None or status.failed_attempts > 0)


def refusals(status: StreamStatus) -> list[str]:
    """Return in words which environments are refused, and why."""
    return [f"{one.id}: {one.reason}{' (its older version is served)' if one.served else ''}" for one in status.refused]


def status_json(status: StreamStatus) -> dict[str, Any]:
    """Return the state of the stream as a JSON object."""
    error = status.last_error
    return {
        "state": status.state.value,
        "lastError": error
        and {
            "kind": error.kind.value,
            "message": error.message,
            "statusCode": error.status_code,
            "time": timestamp(error.time),
        },
        "nextRetryAt": status.next_retry_at and timestamp(status.next_retry_at),
        "refused": [{"id": one.id, "reason": one.reason, "served": one.served} for one in status.refused],
    }


def environment_json(params: EnvironmentParams, show: Show) -> dict[str, Any]:
    """
    Return an environment in the form of the wire, without a version.

    Unless keys are shown in full, the values of fields that this library does not know are hidden: they may be secrets.
    """
    expiring = params.expiring_sdk_key
    ending = ExpiringKeyRep(SDKKey(show(expiring.key)), _milliseconds(expiring.expiration)) if expiring else None
    names = params.identifiers
    rep = EnvironmentRep(
        env_id=params.env_id,
        env_key=names.env_key,
        env_name=names.env_name,
        mob_key=MobileKey(show(params.mobile_key)),
        proj_key=names.proj_key,
        proj_name=names.proj_name,
        sdk_key=SDKKeyRep(SDKKey(show(params.sdk_key)), ending),
        default_ttl=params.ttl // timedelta(minutes=1),
        secure_mode=params.secure_mode,
        sdk_keys=_key_reps(show, *params.accepted_sdk_keys, *params.view_sdk_keys),
        mobile_keys=_key_reps(show, *params.accepted_mobile_keys, *params.view_mobile_keys),
        extra=FrozenDict(params.extra if show is str else dict.fromkeys(params.extra, "…")),
    )
    return {name: value for name, value in rep.to_json().items() if name != "version"}


def _key_reps(show: Show, *keys: AcceptedKey | ViewKey) -> tuple[KeyRep, ...]:
    ends = [_milliseconds(key.expiration) if key.expiration else None for key in keys]
    return tuple(
        KeyRep(key.name, show(key.value), end, isinstance(key, ViewKey)) for key, end in zip(keys, ends, strict=True)
    )


def _milliseconds(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def filter_json(params: FilterParams) -> dict[str, Any]:
    """Return a payload filter in the form of the wire, without a version."""
    return {"projKey": params.proj_key, "key": params.key}


def configuration_json(registry: EnvironmentRegistry, show: Show) -> dict[str, Any]:
    """Return a configuration as the ``data`` of a put has it; sorted, so that two of them can be compared."""
    order = sorted(registry, key=lambda one: (one.identifiers.proj_key, one.identifiers.env_key, one.env_id))
    return {
        "environments": {str(params.env_id): environment_json(params, show) for params in order},
        "filters": {str(id): filter_json(params) for id, params in sorted(registry.filters.items())},
    }


def variables(environments: Iterable[EnvironmentParams], form: str) -> Iterator[str]:
    """
    Yield lines ``NAME=VALUE`` with keys in full.

    An environment is known by the keys of its project and its own; where that is not unique, by its id too.

    Args:
        environments: The environments.
        form: ``relay-env``, for ``docker run --env-file``: with these variables the Relay Proxy is configured when it
            has no auto-configuration key. ``dotenv``, for shells and readers of ``.env`` files: quoted where a value
            needs it.
    """
    shown = shlex.quote if form == "dotenv" else str
    for name, params in _named(environments):
        minutes = params.ttl // timedelta(minutes=1)
        values = [params.sdk_key, params.mobile_key, params.env_id]
        values += ["true" * params.secure_mode, f"{minutes}m" * (minutes > 0)]
        for kind, value in zip(_VARIABLES[form], values, strict=False):
            if value:
                yield f"{kind}_{name}={shown(printable(value))}"


def _named(environments: Iterable[EnvironmentParams]) -> Iterator[tuple[str, EnvironmentParams]]:
    """Yield environments with the ends of their variables' names, which are unique."""
    environments = list(environments)
    names = [_NO_NAME.sub("_", f"{one.identifiers.proj_key}_{one.identifiers.env_key}") for one in environments]
    uses = Counter(names)
    for name, params in zip(names, environments, strict=True):
        yield (f"{name}_{_NO_NAME.sub('_', params.env_id)}" if uses[name] > 1 else name), params
