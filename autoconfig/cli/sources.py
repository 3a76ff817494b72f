"""What ``autoconfig emulate`` serves: the built-in story, or a file that is followed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import attrs

from ..identifiers import FilterID
from ..messages import EnvironmentRep, FilterRep
from ..testing import Emulator, configuration_from_json
from .output import complain, printable
from .story import ENVIRONMENTS, FILTERS, endless_changes
from .wording import totals

Configuration = tuple[Sequence[EnvironmentRep], Mapping[FilterID, FilterRep]]

_GLANCE = 0.5  # seconds between two looks at the file; also how late it may be told that a client came or left

# The version of what has none of its own. It grows from run to run, so that clients that were there before take what
# they are sent for newer than what they know, and not for an old message.
_VERSION = time.time_ns() // 1_000_000


class StorySource:
    """
    The built-in configuration, and a change every few seconds.

    Args:
        interval: Seconds between two changes.

    Attributes:
        name: What is served, in words.
        glance: Seconds between two calls of :meth:`advance`.
    """

    def __init__(self, interval: float) -> None:
        self.name = f"a built-in story, with a change every {interval:g} s"
        self.glance = min(_GLANCE, interval)
        self._interval = interval
        self._acts = endless_changes(timedelta(seconds=3 * interval))
        self._due = time.monotonic() + interval

    def load(self) -> Configuration:
        """Return what is served at first."""
        return _versioned(ENVIRONMENTS, FILTERS)

    def advance(self, service: Emulator) -> str | None:
        """Make the next change if it is time; return it in words."""
        if time.monotonic() < self._due:
            return None
        self._due = time.monotonic() + self._interval
        act = next(self._acts)
        act.play(service)
        return act.text


class FileSource:
    """
    A JSON file, followed when it changes. A file that cannot be used is reported once, and changes nothing.

    Args:
        path: The file.

    Attributes:
        name: What is served, in words.
        glance: Seconds between two calls of :meth:`advance`.
    """

    def __init__(self, path: str) -> None:
        self.name = printable(path)
        self.glance = _GLANCE
        self._path = Path(path)
        self._seen: object = None

    def load(self) -> Configuration:
        """
        Return what the file holds.

        Raises:
            ValueError: It cannot be read, or is no configuration. The text says why, and holds no value.
        """
        # Looked at before it is read: a change in between is then seen as one the next time.
        self._seen = self._signature()
        try:
            return _versioned(*configuration_from_json(self._path.read_text("utf-8-sig")))
        except OSError as error:
            raise ValueError(error.strerror or type(error).__name__) from None
        except UnicodeDecodeError:
            raise ValueError("not UTF-8 text") from None

    def advance(self, service: Emulator) -> str | None:
        """Serve what the file holds if it has changed; return that in words."""
        if self._signature() == self._seen:
            return None
        try:
            environments, filters = self.load()
        except ValueError as error:
            complain("emulate", f"{self.name}: {error}; what was there before is still served")
            return None
        service.replace(environments, filters)
        return f"{self.name} has changed: {totals(len(environments), len(filters))}"

    def _signature(self) -> object:
        """Return what is different after each change, also if the file was replaced by another."""
        try:
            found = self._path.stat()
        except OSError as error:
            return error.errno
        except ValueError:  # a null character in the path
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _versioned(environments: Sequence[EnvironmentRep], filters: Mapping[FilterID, FilterRep]) -> Configuration:
    """Return a configuration in which the version 1, which is what a file's items have by default, is this run's."""
    return (
        [attrs.evolve(rep, version=_VERSION) if rep.version == 1 else rep for rep in environments],
        {id: attrs.evolve(rep, version=_VERSION) if rep.version == 1 else rep for id, rep in filters.items()},
    )
