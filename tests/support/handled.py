"""Forgetting an exception that Python still takes for the one that is being handled."""

from __future__ import annotations

import ctypes

_set_handled = ctypes.pythonapi.PyErr_SetExcInfo
_set_handled.argtypes = [ctypes.c_void_p] * 3
_set_handled.restype = None


def forget_handled_exception() -> None:
    """
    Let no exception be the one that is being handled in this thread.

    When a trace function raises inside an ``except`` block, Python never leaves that block: whatever is raised later in
    this thread has the old exception for its context. Call it outside of every ``except`` block.
    """
    _set_handled(None, None, None)
