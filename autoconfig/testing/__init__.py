"""
The service's side of the auto-configuration stream, for demos and tests.

:class:`Emulator` serves a stream on a loopback port, in process; its methods change what it serves, and make it fail.
:class:`RecordingHandler` records what a stream brings, and lets a test wait for it. pytest finds fixtures for both by
itself: ``autoconfig_emulator``, ``make_autoconfig_emulator``, ``autoconfig_env``, ``recording_handler`` and ``follow``.
The classes ``…Rep`` are environments and filters as the service sends them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy_imports import lazy_imports

if TYPE_CHECKING:
    from ..environments import KeyRep as KeyRep
    from ..messages import EnvironmentRep as EnvironmentRep
    from ..messages import ExpiringKeyRep as ExpiringKeyRep
    from ..messages import FilterRep as FilterRep
    from ..messages import SDKKeyRep as SDKKeyRep
    from .configuration import configuration_from_json as configuration_from_json
    from .emulator import DEMO_KEY as DEMO_KEY
    from .emulator import Emulator as Emulator
    from .exchange import End as End
    from .exchange import RecordedRequest as RecordedRequest
    from .exchange import event_bytes as event_bytes
    from .recording import RecordedCall as RecordedCall
    from .recording import RecordingHandler as RecordingHandler

# Where each name comes from, as in the package above.
_MODULES = {
    "DEMO_KEY": "emulator",
    "Emulator": "emulator",
    "RecordingHandler": "recording",
    "RecordedCall": "recording",
    "RecordedRequest": "exchange",
    "End": "exchange",
    "event_bytes": "exchange",
    "configuration_from_json": "configuration",
    "EnvironmentRep": ".messages",
    "SDKKeyRep": ".messages",
    "ExpiringKeyRep": ".messages",
    "KeyRep": ".environments",
    "FilterRep": ".messages",
}

__all__ = [*_MODULES]

if not TYPE_CHECKING:  # so that type checkers report the import of a name that does not exist
    __getattr__, __dir__ = lazy_imports(globals(), _MODULES)
