"""
The service's side of the auto-configuration stream, for demos and tests.

:class:`Emulator` serves a stream on a loopback port, in process; its methods change what it serves, and make it fail.
:class:`RecordingHandler` records what a stream brings, and lets a test wait for it. pytest finds fixtures for both by
itself: ``autoconfig_emulator``, ``make_autoconfig_emulator``, ``autoconfig_env``, ``recording_handler`` and ``follow``.
The classes ``…Rep`` are environments and filters as the service sends them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..environments import KeyRep
    from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
    from .configuration import configuration_from_json
    from .emulator import DEMO_KEY, Emulator
    from .exchange import End, RecordedRequest, event_bytes
    from .recording import RecordedCall, RecordingHandler

__all__ = [
    "DEMO_KEY",
    "Emulator",
    "End",
    "EnvironmentRep",
    "ExpiringKeyRep",
    "FilterRep",
    "KeyRep",
    "RecordedCall",
    "RecordedRequest",
    "RecordingHandler",
    "SDKKeyRep",
    "configuration_from_json",
    "event_bytes",
]

# Where each name comes from. It is imported late, because pytest loads our plugin, and so this package, in every run.
_NAMES = {
    ".environments": ("KeyRep",),
    ".messages": ("EnvironmentRep", "ExpiringKeyRep", "FilterRep", "SDKKeyRep"),
    "configuration": ("configuration_from_json",),
    "emulator": ("DEMO_KEY", "Emulator"),
    "exchange": ("End", "RecordedRequest", "event_bytes"),
    "recording": ("RecordedCall", "RecordingHandler"),
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
