"""
Follow LaunchDarkly's auto-configuration stream from a blocking Python program.

A :class:`StreamManager` connects to the service, and calls a :class:`MessageHandler` for each environment and payload
filter that is added, updated or deleted: in order, never with stale data, across reconnections.
"""

import typing as _typing

from .version import __version__ as __version__

if _typing.TYPE_CHECKING:
    from .api import *  # noqa: F403


def __getattr__(name: str) -> object:
    # Importing requests, urllib3 and ssl takes 0.15 s. `autoconfig --help` does not need them, and neither does a test
    # run that loads the pytest plugin and does not use it.
    from importlib import import_module, util

    # Submodules are asked for here too, by `from . import name` before it imports them.
    if name == "__all__" or not (name.startswith("_") or util.find_spec(f"{__name__}.{name}")):
        api = import_module(".api", __name__)
        if name == "__all__" or name in api.__all__:
            return globals().setdefault(name, getattr(api, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})  # type: ignore[misc]
