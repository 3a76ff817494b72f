"""The names of the package ``autoconfig``; imported when the first of them is used."""

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
from .status import ErrorInfo, ErrorKind, RefusedEnvironment, StatusListener, StreamState, StreamStatus
from .version import __version__

__all__ = [
    "AcceptedKey",
    "Action",
    "AutoConfigError",
    "AutoConfigKey",
    "ClosedError",
    "ConnectionFailedError",
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
