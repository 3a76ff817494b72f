"""What several commands read from an environment."""

from __future__ import annotations

from datetime import datetime

from ..environments import EnvironmentParams


def expiring_keys(params: EnvironmentParams) -> list[tuple[str, datetime]]:
    """Return the keys of an environment that end at a known time, and these times, the first to end first."""
    listed = [*params.accepted_sdk_keys, *params.accepted_mobile_keys]
    ends = {key.value: key.expiration for key in listed if key.expiration}
    if expiring := params.expiring_sdk_key:
        ends[expiring.key] = expiring.expiration
    return sorted(ends.items(), key=lambda entry: entry[1])


def sort_key(params: EnvironmentParams) -> tuple[str, str, str]:
    """Return by what environments are sorted where people see them."""
    names = params.identifiers
    return names.proj_name.casefold(), names.env_name.casefold(), params.env_id
