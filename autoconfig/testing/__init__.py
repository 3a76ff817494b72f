"""
The service's side of the auto-configuration stream, for demos and tests.

:class:`Emulator` serves a stream on a loopback port, in process; its methods change what it serves, and make it fail.
:class:`RecordingHandler` records what a stream brings, and lets a test wait for it. Both are pytest fixtures too:
``autoconfig_emulator`` and ``recording_handler``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .answer import End
    from .emulator import DEMO_KEY, Emulator
    from .exchange import RecordedRequest
    from .recording import RecordedCall, RecordingHandler
    from .wire import (
        configuration_from_json,
        environment_from_json,
        environment_json,
        event_bytes,
        filter_from_json,
        filter_json,
    )

__all__ = [
    "DEMO_KEY",
    "Emulator",
    "End",
    "RecordedCall",
    "RecordedRequest",
    "RecordingHandler",
    "configuration_from_json",
    "environment_from_json",
    "environment_json",
    "event_bytes",
    "filter_from_json",
    "filter_json",
]

# Where each name comes from. It is imported late, because pytest loads our plugin, and so this package, in every run.
_NAMES = {
    "answer": ("End",),
    "emulator": (
        "DEMO_KEY",
        "Emulator",
    ),
    "exchange": ("RecordedRequest",),
    "recording": (
        "RecordedCall",
        "RecordingHandler",
    ),
    "wire": (
        "configuration_from_json",
        "environment_from_json",
        "environment_json",
        "event_bytes",
        "filter_from_json",
        "filter_json",
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
