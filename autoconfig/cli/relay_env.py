"""Environments as the variables with which the Relay Proxy is configured when it has no auto-configuration key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta

from ..environments import EnvironmentParams
from .output import printable
from .wording import Show

_NO_NAME = re.compile(r"[^0-9A-Za-z]+")  # what no name of a variable may hold


def relay_variables(environments: Iterable[EnvironmentParams], show: Show) -> Iterator[str]:
    """
    Yield lines ``NAME=VALUE`` for ``docker run --env-file`` and the like.

    Each environment is known by the keys of its project and its own; where that is not unique, by its id too.
    """
    environments = list(environments)
    uses = Counter(map(_name, environments))
    for params in environments:
        name = _name(params)
        if uses[name] > 1:
            name += f"_{_NO_NAME.sub('_', params.env_id)}"
        yield f"LD_ENV_{name}={printable(show(params.sdk_key))}"
        if params.mobile_key:
            yield f"LD_MOBILE_KEY_{name}={printable(show(params.mobile_key))}"
        yield f"LD_CLIENT_SIDE_ID_{name}={printable(params.env_id)}"
        if params.secure_mode:
            yield f"LD_SECURE_MODE_{name}=true"
        if params.ttl > timedelta(0):
            yield f"LD_TTL_{name}={params.ttl // timedelta(minutes=1)}m"


def _name(params: EnvironmentParams) -> str:
    names = params.identifiers
    return _NO_NAME.sub("_", f"{names.proj_key}_{names.env_key}")
