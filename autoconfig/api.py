"""The names of the package ``autoconfig``; imported when the first of them is used."""

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
from .status import ErrorInfo, ErrorKind, StatusListener, StreamState, StreamStatus
from .version import __version__

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
    "PatchMessageData",
    "PutContent",
    "PutMessageData",
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
