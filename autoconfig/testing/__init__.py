"""
The service's side of the auto-configuration stream, for demos and tests.

:class:`Emulator` serves a stream on a loopback port, in process; its methods change what it serves, and make it fail.
:class:`RecordingHandler` records what a stream brings, and lets a test wait for it. pytest finds fixtures for both by
itself: ``autoconfig_emulator``, ``make_autoconfig_emulator``, ``autoconfig_env``, ``recording_handler`` and ``follow``.
The classes ``…Rep`` are environments and filters as the service sends them.
"""

from __future__ import annotations

from ..environments import KeyRep
from ..messages import EnvironmentRep, ExpiringKeyRep, FilterRep, SDKKeyRep
from .answer import End
from .configuration import configuration_from_json
from .demo import DEMO_KEY
from .emulator import Emulator
from .recording import RecordedCall, RecordingHandler
from .server import RecordedRequest
from .streams import event_bytes

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
