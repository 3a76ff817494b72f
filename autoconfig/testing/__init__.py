"""
The service's side of the auto-configuration stream, for demos and tests.

:class:`Emulator` serves a stream on a loopback port, in process; its methods change what it serves, and make it fail.
:class:`RecordingHandler` records what a stream brings, and lets a test wait for it. Both are pytest fixtures too:
``autoconfig_emulator`` and ``recording_handler``.
"""

from __future__ import annotations

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
