"""
Follow LaunchDarkly's auto-configuration stream from a blocking Python program.

A :class:`StreamManager` connects to the service, and calls a :class:`MessageHandler` for each environment and payload
filter that is added, updated or deleted: in order, never with stale data, across reconnections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lazy_imports import lazy_imports
from .version import __version__

if TYPE_CHECKING:
    from .config import HTTPConfig as HTTPConfig
    from .config import RetryPolicy as RetryPolicy
    from .environments import AcceptedKey as AcceptedKey
    from .environments import EnvIdentifiers as EnvIdentifiers
    from .environments import EnvironmentParams as EnvironmentParams
    from .environments import ExpiringSDKKey as ExpiringSDKKey
    from .environments import FilterParams as FilterParams
    from .environments import ViewKey as ViewKey
    from .exceptions import AutoConfigError as AutoConfigError
    from .exceptions import ClosedError as ClosedError
    from .exceptions import ForkedError as ForkedError
    from .exceptions import KeyRejectedError as KeyRejectedError
    from .exceptions import NotReadyError as NotReadyError
    from .handler import MessageHandler as MessageHandler
    from .handler_errors import HandlerErrors as HandlerErrors
    from .handler_errors import HandlerFailure as HandlerFailure
    from .identifiers import AutoConfigKey as AutoConfigKey
    from .identifiers import EnvironmentID as EnvironmentID
    from .identifiers import FilterID as FilterID
    from .identifiers import FilterKey as FilterKey
    from .identifiers import MobileKey as MobileKey
    from .identifiers import SDKKey as SDKKey
    from .manager import StreamManager as StreamManager
    from .ready_made.expiry import ExpiredKey as ExpiredKey
    from .ready_made.filtering import FilteredHandler as FilteredHandler
    from .ready_made.filtering import FilterExpander as FilterExpander
    from .ready_made.registry import EnvironmentRegistry as EnvironmentRegistry
    from .ready_made.registry import RegistryChange as RegistryChange
    from .receiver import Action as Action
    from .receiver import Item as Item
    from .receiver import MessageReceiver as MessageReceiver
    from .status import ContentSource as ContentSource
    from .status import ErrorInfo as ErrorInfo
    from .status import ErrorKind as ErrorKind
    from .status import RefusedEnvironment as RefusedEnvironment
    from .status import StreamState as StreamState
    from .status import StreamStatus as StreamStatus
    from .store import ConfigurationStore as ConfigurationStore

# Where each name comes from. A module is imported when one of its names is first used, because pytest loads our plugin,
# and so this package, in every run. Type checkers read the imports above; a test holds the two equal.
_MODULES = {
    "HTTPConfig": "config",
    "RetryPolicy": "config",
    "AcceptedKey": "environments",
    "EnvIdentifiers": "environments",
    "EnvironmentParams": "environments",
    "ExpiringSDKKey": "environments",
    "FilterParams": "environments",
    "ViewKey": "environments",
    "AutoConfigError": "exceptions",
    "ClosedError": "exceptions",
    "ForkedError": "exceptions",
    "KeyRejectedError": "exceptions",
    "NotReadyError": "exceptions",
    "ExpiredKey": "ready_made.expiry",
    "FilterExpander": "ready_made.filtering",
    "FilteredHandler": "ready_made.filtering",
    "MessageHandler": "handler",
    "HandlerErrors": "handler_errors",
    "HandlerFailure": "handler_errors",
    "AutoConfigKey": "identifiers",
    "EnvironmentID": "identifiers",
    "FilterID": "identifiers",
    "FilterKey": "identifiers",
    "MobileKey": "identifiers",
    "SDKKey": "identifiers",
    "StreamManager": "manager",
    "Action": "receiver",
    "Item": "receiver",
    "MessageReceiver": "receiver",
    "EnvironmentRegistry": "ready_made.registry",
    "RegistryChange": "ready_made.registry",
    "ContentSource": "status",
    "ErrorInfo": "status",
    "ErrorKind": "status",
    "RefusedEnvironment": "status",
    "StreamState": "status",
    "StreamStatus": "status",
    "ConfigurationStore": "store",
}

__all__ = ["__version__", *_MODULES]

if not TYPE_CHECKING:  # so that type checkers report the import of a name that does not exist
    __getattr__, __dir__ = lazy_imports(globals(), _MODULES)
