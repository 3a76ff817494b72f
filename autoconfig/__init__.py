"""
Follow LaunchDarkly's auto-configuration stream from a blocking Python program.

A :class:`StreamManager` connects to the service, and calls a :class:`MessageHandler` for each environment and payload
filter that is added, updated or deleted: in order, never with stale data, across reconnections.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .version import __version__

if TYPE_CHECKING:
    from .config import HTTPConfig, RetryPolicy
    from .environments import (
        AcceptedKey,
        EnvIdentifiers,
        EnvironmentParams,
        ExpiringSDKKey,
        FilterParams,
        ViewKey,
    )
    from .exceptions import (
        AutoConfigError,
        ClosedError,
        ConnectionFailedError,
        EventTooLargeError,
        ForkedError,
        KeyRejectedError,
        MalformedMessageError,
        NotReadyError,
        StreamEndedError,
        StreamError,
        UnexpectedStatusError,
    )
    from .expiry import ExpiredKey
    from .filtering import FilteredHandler, FilterExpander
    from .handler import MessageHandler
    from .handler_errors import HandlerErrors, HandlerFailure
    from .identifiers import AutoConfigKey, EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey
    from .keys import KeySource
    from .manager import StreamManager
    from .receiver import Action, Item, MessageReceiver
    from .registry import EnvironmentRegistry, RegistryChange, RegistryListener
    from .status import (
        ContentSource,
        ErrorInfo,
        ErrorKind,
        RefusedEnvironment,
        StatusListener,
        StreamState,
        StreamStatus,
    )
    from .store import ConfigurationStore

__all__ = [
    "AcceptedKey",
    "Action",
    "AutoConfigError",
    "AutoConfigKey",
    "ClosedError",
    "ConfigurationStore",
    "ConnectionFailedError",
    "ContentSource",
    "EnvIdentifiers",
    "EnvironmentID",
    "EnvironmentParams",
    "EnvironmentRegistry",
    "ErrorInfo",
    "ErrorKind",
    "EventTooLargeError",
    "ExpiredKey",
    "ExpiringSDKKey",
    "FilterExpander",
    "FilterID",
    "FilterKey",
    "FilterParams",
    "FilteredHandler",
    "ForkedError",
    "HTTPConfig",
    "HandlerErrors",
    "HandlerFailure",
    "Item",
    "KeyRejectedError",
    "KeySource",
    "MalformedMessageError",
    "MessageHandler",
    "MessageReceiver",
    "MobileKey",
    "NotReadyError",
    "RefusedEnvironment",
    "RegistryChange",
    "RegistryListener",
    "RetryPolicy",
    "SDKKey",
    "StatusListener",
    "StreamEndedError",
    "StreamError",
    "StreamManager",
    "StreamState",
    "StreamStatus",
    "UnexpectedStatusError",
    "ViewKey",
    "__version__",
]

# Where each name comes from. It is imported late, because pytest loads our plugin, and so this package, in every run.
_NAMES = {
    "config": (
        "HTTPConfig",
        "RetryPolicy",
    ),
    "environments": (
        "AcceptedKey",
        "EnvIdentifiers",
        "EnvironmentParams",
        "ExpiringSDKKey",
        "FilterParams",
        "ViewKey",
    ),
    "exceptions": (
        "AutoConfigError",
        "ClosedError",
        "ConnectionFailedError",
        "EventTooLargeError",
        "ForkedError",
        "KeyRejectedError",
        "MalformedMessageError",
        "NotReadyError",
        "StreamEndedError",
        "StreamError",
        "UnexpectedStatusError",
    ),
    "expiry": ("ExpiredKey",),
    "filtering": (
        "FilteredHandler",
        "FilterExpander",
    ),
    "handler": ("MessageHandler",),
    "handler_errors": (
        "HandlerErrors",
        "HandlerFailure",
    ),
    "identifiers": (
        "AutoConfigKey",
        "EnvironmentID",
        "FilterID",
        "FilterKey",
        "MobileKey",
        "SDKKey",
    ),
    "keys": ("KeySource",),
    "manager": ("StreamManager",),
    "receiver": (
        "Action",
        "Item",
        "MessageReceiver",
    ),
    "registry": (
        "EnvironmentRegistry",
        "RegistryChange",
        "RegistryListener",
    ),
    "status": (
        "ContentSource",
        "ErrorInfo",
        "ErrorKind",
        "RefusedEnvironment",
        "StatusListener",
        "StreamState",
        "StreamStatus",
    ),
    "store": ("ConfigurationStore",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
