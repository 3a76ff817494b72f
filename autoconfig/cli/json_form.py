"""The handler's calls, and what they are about, as JSON."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from ..environments import EnvironmentParams, FilterParams
from .calls import Call
from .wording import Show


def call_json(call: Call, show: Show) -> str:
    """Return a call as a JSON object in one line of ASCII."""
    fields: dict[str, Any] = {"call": call.name}
    match call.argument:
        case EnvironmentParams() as params:
            fields["params"] = environment_fields(params, show)
        case FilterParams() as params:
            fields["params"] = filter_fields(params)
        case str(id):
            fields["id"] = id
    return json.dumps(fields)


def environment_fields(params: EnvironmentParams, show: Show) -> dict[str, Any]:
    """Return an environment as a JSON object."""
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


def filter_fields(params: FilterParams) -> dict[str, Any]:
    """Return a payload filter as a JSON object."""
    return {"id": params.id, "key": params.key, "projKey": params.proj_key}
