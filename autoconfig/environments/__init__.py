"""Environments and filters: as the wire has them (``…Rep``) and as handlers get them (``…Params``)."""

from .params import NO_EXTRA, AcceptedKey, EnvIdentifiers, EnvironmentParams, ExpiringSDKKey, FilterParams, lasting
from .wire import NO_EXPIRING_KEY, EnvironmentRep, ExpiringKeyRep, FilterRep, KeyRep, SDKKeyRep

__all__ = [
    "NO_EXPIRING_KEY",
    "NO_EXTRA",
    "AcceptedKey",
    "EnvIdentifiers",
    "EnvironmentParams",
    "EnvironmentRep",
    "ExpiringKeyRep",
    "ExpiringSDKKey",
    "FilterParams",
    "FilterRep",
    "KeyRep",
    "SDKKeyRep",
    "lasting",
]
