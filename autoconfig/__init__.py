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
        EnvironmentRep,
        ExpiringKeyRep,
        ExpiringSDKKey,
        FilterParams,
        FilterRep,
        KeyRep,
        SDKKeyRep,
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
    from .expiry import ExpiredKey, ExpiryWatcher
    from .filtering import FilteredHandler, FilterExpander
    from .handler import MessageHandler
    from .handler_errors import HandlerErrors, HandlerFailure
    from .identifiers import AutoConfigKey, EnvironmentID, FilterID, FilterKey, MobileKey, SDKKey
    from .keys import KeySource
    from .manager import StreamManager
    from .messages import (
        DELETE_EVENT,
        PATCH_EVENT,
        PUT_EVENT,
        RECONNECT_EVENT,
        DeleteMessageData,
        PatchMessageData,
        PutContent,
        PutMessageData,
    )
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

__all__ = [
    "DELETE_EVENT",
    "PATCH_EVENT",
    "PUT_EVENT",
    "RECONNECT_EVENT",
    "AcceptedKey",
    "Action",
    "AutoConfigError",
    "AutoConfigKey",
    "ClosedError",
    "ConnectionFailedError",
    "ContentSource",
    "DeleteMessageData",
    "EnvIdentifiers",
    "EnvironmentID",
    "EnvironmentParams",
    "EnvironmentRegistry",
    "EnvironmentRep",
    "ErrorInfo",
    "ErrorKind",
    "EventTooLargeError",
    "ExpiredKey",
    "ExpiringKeyRep",
    "ExpiringSDKKey",
    "ExpiryWatcher",
    "FilterExpander",
    "FilterID",
    "FilterKey",
    "FilterParams",
    "FilterRep",
    "FilteredHandler",
    "ForkedError",
    "HTTPConfig",
    "HandlerErrors",
    "HandlerFailure",
    "Item",
    "KeyRejectedError",
    "KeyRep",
    "KeySource",
    "MalformedMessageError",
    "MessageHandler",
    "MessageReceiver",
    "MobileKey",
    "NotReadyError",
    "PatchMessageData",
    "PutContent",
    "PutMessageData",
    "RefusedEnvironment",
    "RegistryChange",
    "RegistryListener",
    "RetryPolicy",
    "SDKKey",
    "SDKKeyRep",
    "StatusListener",
    "StreamEndedError",
    "StreamError",
    "StreamManager",
    "StreamState",
    "StreamStatus",
    "UnexpectedStatusError",
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
        "EnvironmentRep",
        "ExpiringKeyRep",
        "ExpiringSDKKey",
        "FilterParams",
        "FilterRep",
        "KeyRep",
        "SDKKeyRep",
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
    "expiry": (
        "ExpiredKey",
        "ExpiryWatcher",
    ),
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
    "messages": (
        "DELETE_EVENT",
        "PATCH_EVENT",
        "PUT_EVENT",
        "RECONNECT_EVENT",
        "DeleteMessageData",
        "PatchMessageData",
        "PutContent",
        "PutMessageData",
    ),
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
