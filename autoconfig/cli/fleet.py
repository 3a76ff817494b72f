"""A fleet on Redis as a source: what ``--redis`` and ``--name`` say, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import USAGE
from .output import CommandError

if TYPE_CHECKING:
    from ..handler import MessageHandler
    from ..manager import StreamManager
    from ..safe_logger import Logger

SECRET = "AUTO_CONFIG_REDIS_SECRET"
URL = "AUTO_CONFIG_REDIS"
_FIX = "give one such as rediss://cache.example.com:6379/0"


@contextmanager
def needs_redis() -> Iterator[None]:
    """Say what to install if the block cannot import it."""
    try:
        yield
    except ImportError:
        problem = "needs the packages redis and cryptography"
        raise CommandError("--redis", problem, "pip install 'ld-autoconfig[redis]'", USAGE) from None


class Fleet:
    """
    What a fleet's leader keeps in Redis.

    Attributes:
        name: What is followed, in words.
        url: Of Redis; may hold a password.
        fleet: The fleet's name.
        secret: What values are encrypted with, if they are.
    """

    key_name = SECRET

    def __init__(self, url: str | None, fleet: str | None, others: dict[str, str | None] | None = None) -> None:
        for name, value in (others or {}).items():
            if value is not None:
                option = f"--{name.replace('_', '-')}"
                raise CommandError("--redis", f"cannot be given together with {option}", "give one of the two", USAGE)
        url = url or os.environ.get(URL)
        if not url:
            raise CommandError("--redis", "is missing", f"{_FIX}, or set {URL}", USAGE)
        if not fleet:
            raise CommandError("--name", "is missing", "give the fleet's name, such as --name prod", USAGE)
        with needs_redis():
            from ..redis import RedisSource
        self.url, self.fleet, self.secret = url, fleet, os.environ.get(SECRET) or None
        try:
            self.source = RedisSource(url, fleet, self.secret)
        except ValueError as error:
            name, _, problem = str(error).partition(" ")
            option = {"url": "--redis", "name": "--name"}.get(name, SECRET)
            raise CommandError(option, problem, _FIX if option == "--redis" else "give another one", USAGE) from None
        self.name = f"the fleet {self.source}"

    def manager(self, handler: MessageHandler, *, logger: Logger | None = None, **settings: Any) -> StreamManager:
        """Return what follows the fleet's leader."""
        from ..manager import StreamManager

        return StreamManager.from_source(self.source, handler, logger=logger, **settings)
