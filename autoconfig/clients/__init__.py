"""
A working LaunchDarkly client for each environment, with its current SDK key.

:class:`ClientPool` is a handler to give to a :class:`~autoconfig.StreamManager`. Needs the extra ``clients``, which
installs LaunchDarkly's SDK.
"""

from __future__ import annotations

from .pool import ClientPool
from .state import ClientState, ClientStatus

__all__ = ["ClientPool", "ClientState", "ClientStatus"]
