"""What can be followed: the service, an archive of the Relay Proxy's offline mode, or a fleet's leader in Redis."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..identifiers import AutoConfigKey
from ..keys import text_of_key_file
from ..validation import check_header_value, check_url
from . import USAGE
from .output import CommandError, shown_uri

if TYPE_CHECKING:
    from ..handler import MessageHandler
    from ..manager import StreamManager

DEFAULT_URI = "https://stream.launchdarkly.com"
KEY_VARIABLE = "AUTO_CONFIG_KEY"
KEY_FILE_VARIABLE = "AUTO_CONFIG_KEY_FILE"
REDIS_VARIABLE = "AUTO_CONFIG_REDIS"
SECRET = "AUTO_CONFIG_REDIS_SECRET"
_NO_KEY = f"set {KEY_VARIABLE}, or give --key-file FILE; without an account: autoconfig demo"
_REDIS_FIX = "give one such as rediss://cache.example.com:6379/0"

Options = Mapping[str, str | None]


class Connection:
    """
    The service, and the way there.

    Args:
        options: The values of ``--uri``, ``--key``, ``--key-file``, ``--proxy`` and ``--ca-file``, if they are given.
        names: The option or variable that each value comes from, for errors about it.

    Raises:
        CommandError: One of them cannot be used.
    """

    advice = "autoconfig doctor, which checks each step"

    def __init__(self, options: Options, names: Mapping[str, str]) -> None:
        from ..config import HTTPConfig

        self.uri, self.uri_name = options["uri"] or "", names["uri"]
        self.key, self.key_name, self._key_file = _key(options, names)
        self.proxy, self.ca_file = options.get("proxy"), options.get("ca_file")
        self.name = shown_uri(self.uri)
        with _explained(self.uri_name, f"give a URI such as {DEFAULT_URI}"):
            check_url("uri", self.uri)
        with _explained(self.key_name, "give the key of an auto-configuration profile, rel-…"):
            check_header_value("key", self.key)
        with _explained("--proxy", "give one such as http://proxy.example.com:3128"):
            HTTPConfig(proxy_url=self.proxy)
        if self.ca_file is not None and not os.access(self.ca_file, os.R_OK):
            # The path is not shown: it may be a key in the wrong place.
            problem = "the file does not exist or cannot be read"
            raise CommandError("--ca-file", problem, "give a file of CA certificates (PEM)", USAGE)

    def manager(self, handler: MessageHandler, **settings: Any) -> StreamManager:
        """Return a manager; a key's file is read again at each attempt to connect."""
        from ..config import HTTPConfig
        from ..manager import StreamManager

        http_config = HTTPConfig(proxy_url=self.proxy, ca_certs=self.ca_file, **settings.pop("http", {}))
        key = self._key_file or AutoConfigKey(self.key)
        return StreamManager(key, self.uri, handler, http_config, **settings)


def _key(options: Options, names: Mapping[str, str]) -> tuple[str, str, Path | None]:
    """Return the key, where it comes from, and its file if that is to be read again."""
    key, file = options.get("key"), options.get("key_file")
    by_option = [name for name in ("key", "key_file") if options.get(name) is not None and names[name].startswith("--")]
    if len(by_option) == 2:
        raise CommandError("--key-file", "cannot be given together with --key", "give one of the two", USAGE)
    if key is not None and by_option != ["key_file"]:
        return key, names["key"], None
    if file is None:
        raise CommandError(KEY_VARIABLE, "there is no auto-configuration key", _NO_KEY, USAGE)
    return _read_key(names["key_file"], file)


def _read_key(name: str, path: str) -> tuple[str, str, Path | None]:
    # Neither the path nor the text of the error is shown: somebody may have taken --key-file for --key.
    fix = "give the path of a file that holds the key and nothing else"
    try:
        file = Path(path)
        again = file.is_file()  # not a pipe, which can be read only once
        return text_of_key_file(file.read_bytes()), name, file if again else None
    except OSError as error:
        raise CommandError(name, f"cannot read the file: {os.strerror(error.errno or 0)}", fix, USAGE) from None
    except ValueError:  # not UTF-8, or a path that no file can have
        raise CommandError(name, "the file does not hold a key", fix, USAGE) from None


@contextmanager
def _explained(name: str, fix: str) -> Iterator[None]:
    """Turn a ``ValueError`` of the block into a :class:`CommandError` about an option or a variable."""
    try:
        yield
    except ValueError as error:
        problem = str(error).partition(" ")[2]  # without the argument's name
        raise CommandError(name, problem, fix, USAGE) from None


class Archive:
    """An archive of the Relay Proxy's offline mode."""

    key_name = "--archive"
    advice = "give a file that autoconfig fetch-archive has downloaded"

    def __init__(self, path: str) -> None:
        self.name = path

    def manager(self, handler: MessageHandler, **settings: Any) -> StreamManager:
        """Return what follows the archive."""
        from ..archive import ArchiveSource

        return ArchiveSource(self.name, handler, **settings)


@contextmanager
def needs_redis() -> Iterator[None]:
    """Say what to install if the block cannot import it."""
    try:
        yield
    except ImportError:
        problem = "needs the packages redis and cryptography"
        raise CommandError("--redis", problem, "pip install 'ld-autoconfig[redis]'", USAGE) from None


class Fleet:
    """What a fleet's leader keeps in Redis. The URL may hold a password; values are encrypted with the secret."""

    key_name = SECRET
    advice = "autoconfig doctor with the same --redis and --name, which checks each step"

    def __init__(self, url: str | None, fleet: str | None) -> None:
        if not url:
            raise CommandError("--redis", "is missing", f"{_REDIS_FIX}, or set {REDIS_VARIABLE}", USAGE)
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
            fix = _REDIS_FIX if option == "--redis" else "give another one"
            raise CommandError(option, problem, fix, USAGE) from None
        self.name = f"the fleet {self.source}"

    def manager(self, handler: MessageHandler, **settings: Any) -> StreamManager:
        """Return what follows the fleet's leader."""
        from ..manager import StreamManager

        return StreamManager.from_source(self.source, handler, **settings)


Source = Connection | Archive | Fleet
"""
Where environments come from. A further kind needs a class here, and an option in :mod:`.options`.

Each has a name, the option or variable that its key comes from, and advice for the case that nothing comes from it. It
makes a manager that keeps a handler in step with it.
"""
