"""Threads that ask a registry all the time, while it is changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from ready_made.samples import NOON, params

from autoconfig import EnvironmentID
from autoconfig.ready_made.registry import EnvironmentRegistry

Check = Callable[[], object]
"""Looks something up; what it returns, if that is true, is what was wrong about it."""


class Readers:
    """
    Threads that repeat their checks until one of these fails.

    Attributes:
        wrong: What failed.
        rounds: How many checks were made.
    """

    def __init__(self) -> None:
        self.wrong: list[object] = []
        self.rounds = 0
        self._stop = threading.Event()

    @contextmanager
    def running(self, *checks: Check) -> Iterator[None]:
        """Let each check have a thread."""
        threads = [threading.Thread(target=self._repeat, args=[check]) for check in checks]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(30)

    def _repeat(self, check: Check) -> None:
        while not self._stop.is_set() and not self.wrong:
            problem = check()
            self.rounds += 1
            if problem:
                self.wrong.append(problem)


class Rotation:
    """
    An environment whose SDK key is rotated again and again.

    The key of a rotation is the current one until the next rotation, and the expiring one until the one after that.

    Attributes:
        newest: The number of the last rotation that has ended.
    """

    def __init__(self, registry: EnvironmentRegistry) -> None:
        self.newest = -1
        self._registry = registry

    def rotate(self) -> None:
        """Give the environment the next key; another environment comes and goes."""
        number = self.newest + 1
        expiring = (f"sdk-{number - 1}", NOON + timedelta(days=36500))
        environment = params("e1", name=str(number), sdk=f"sdk-{number}", expiring=expiring, env="same")
        self._registry.update_environment(environment)
        self.newest = number
        self._registry.add_environment(params("e2", sdk=f"sdk-other-{number}"))
        self._registry.delete_environment(EnvironmentID("e2"))

    def check_the_newest_key(self) -> object:
        """Find the environment by its newest key, which is accepted at least until the next rotation has ended."""
        number = self.newest
        found = self._registry.find_by_sdk_key(f"sdk-{number}")
        if found is None:
            return f"a gap at {number}" if self.newest == number else None
        return None if found.env_id == "e1" and int(found.identifiers.env_name) >= number else found

    def check_what_never_changes(self) -> object:
        """Find the environment by everything else, never in a state before the newest."""
        number = self.newest
        for found in (
            self._registry.find("shop", "same"),
            self._registry.find_by_mobile_key("mob-e1"),
            self._registry.get("e1"),
            self._registry.environments.get(EnvironmentID("e1")),
        ):
            if found is None or found.env_id != "e1" or int(found.identifiers.env_name) < number:
                return f"{found} at {number}"
        return None
