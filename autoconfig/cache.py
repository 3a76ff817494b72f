"""``FileStore``: the last known configuration in a file, for a start while LaunchDarkly cannot be reached."""

from __future__ import annotations

import errno
import glob
import hashlib
import hmac
import json
import logging
import os
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .messages import CachedContent, EnvironmentRep, FilterRep, PutContent
from .safe_logger import SafeLogger
from .validation import check_count, check_instance

if TYPE_CHECKING:
    from .encryption import Cipher

_PLAIN, _ENCRYPTED = b"autoconfig cache 1, plain\n", b"autoconfig cache 1, AES-256-GCM\n"
_DIGEST_BYTES = 32
_PURPOSE = b"autoconfig cache file"
_STALE = 3600.0  # seconds; an older temporary file belongs to a process that was killed
_OPEN = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # a FIFO would block; Windows has other flags
    _OPEN |= getattr(os, _flag, 0)


class FileStore:
    """
    Keeps the last known configuration in a file, for ``StreamManager(…, cache=…)``.

    The file is replaced in one step, and only its owner can read it. It is read only if it is a regular file of this
    user or of root. A file that is damaged, truncated, written for another scope or with another key is ignored, with a
    WARNING that holds no content. Several processes may share a file; the last save counts.

    Without an encryption key the file holds SDK keys in plain text, and whoever can write it can give the application
    other keys. With an encryption key it is encrypted and authenticated (AES-256-GCM), and a file that is not encrypted
    is refused. This needs the extra ``cache``.

    Args:
        path: The file. Its directory has to exist and be writable. Use a volume that outlives the process.
        scope: What the content belongs to, such as the name of the auto-configuration profile. A file of another scope
            is not read, because it would add foreign environments. The scope is not secret, and not in the file.
        encryption_key: A secret of at least 16 characters, such as ``openssl rand -base64 32`` prints. Do not use the
            auto-configuration key: after a reset of that key, nobody could read the cache.
        max_bytes: A larger file is neither read nor written.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The scope is empty, or the encryption key is too short.
        ImportError: There is an encryption key, and the package ``cryptography`` is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scope: str,
        encryption_key: str | None = None,
        max_bytes: int = 256 * 2**20,
    ) -> None:
        self._path = Path(path).absolute()  # servers change their directory
        self._scope = check_instance("scope", scope, str).encode("utf-8", "surrogatepass")
        if not scope:
            raise ValueError("scope must not be empty")
        self._max_bytes = check_count("max_bytes", max_bytes)
        self._cipher = None if encryption_key is None else _cipher(encryption_key)
        self._log = SafeLogger(logging.getLogger("autoconfig.cache"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path}{', encrypted' if self._cipher else ''}>"

    def load(self) -> CachedContent | None:
        """Return what was last saved; ``None`` if there is no file, or, with a WARNING, if it cannot be used."""
        try:
            return self._parse(self._unseal(self._read()))
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else type(error).__name__
        except _UnusableError as error:
            reason = str(error)
        except Exception as error:  # whose text may hold keys
            reason = f"its content is not a configuration ({type(error).__name__})"
        self._log.warning("Cannot use the cache file %s: %s", self._path, reason)
        return None

    def save(self, content: PutContent) -> None:
        """
        Replace what was saved.

        Raises:
            OSError: The file cannot be written, or the content is larger than ``max_bytes``.
        """
        data = self._seal(b"".join(_document(content, datetime.now(timezone.utc))))
        if len(data) > self._max_bytes:
            raise OSError(errno.EFBIG, f"the configuration takes {len(data)} bytes, more than max_bytes")
        with replacement(self._path) as file:
            file.write(data)

    def _read(self) -> bytes:
        descriptor = os.open(self._path, _OPEN)
        try:
            self._check(os.fstat(descriptor))
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(self._max_bytes + 1)
        finally:
            os.close(descriptor)
        if len(data) > self._max_bytes:
            raise _UnusableError("it is larger than max_bytes")
        return data

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise _UnusableError("it is not a regular file")
        if hasattr(os, "geteuid") and found.st_uid not in (os.geteuid(), 0):
            raise _UnusableError("it belongs to another user")
        if found.st_mode & 0o077 and os.name == "posix":
            self._log.warning("The cache file %s can be accessed by others than its owner", self._path)

    def _seal(self, body: bytes) -> bytes:
        if self._cipher:
            return _ENCRYPTED + self._cipher.encrypt(body, _ENCRYPTED + self._scope)
        return _PLAIN + self._digest(body) + body

    def _unseal(self, data: bytes) -> bytes:
        """Return the body, if it is complete and belongs to this scope."""
        head = _ENCRYPTED if self._cipher else _PLAIN
        if not data.startswith(head):
            if data.startswith(_PLAIN):
                raise _UnusableError("it is not encrypted, but there is an encryption key")
            if data.startswith(_ENCRYPTED):
                raise _UnusableError("it is encrypted, but there is no encryption key")
            raise _UnusableError("it is damaged, or of another version of this library")
        data = data[len(head) :]
        if self._cipher:
            try:
                return self._cipher.decrypt(data, head + self._scope)
            except ValueError:
                raise _UnusableError("it is damaged, or was written with another key or scope") from None
        digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if not hmac.compare_digest(digest, self._digest(body)):
            raise _UnusableError("it is damaged, or was written with another scope")
        return body

    def _digest(self, body: bytes) -> bytes:
        return hashlib.sha256(b"%d " % len(self._scope) + self._scope + body).digest()

    def _parse(self, body: bytes) -> CachedContent:
        document = json.loads(body)
        saved_at = datetime.fromtimestamp(document["savedAt"], timezone.utc)
        return CachedContent(PutContent.from_json(document["content"]), saved_at)


class _UnusableError(Exception):
    """The file is not used. The text says why and holds no content."""


@contextmanager
def replacement(path: Path) -> Iterator[IO[bytes]]:
    """
    Write a new file in the ``with`` block, and replace the old one by it in one step.

    Only the owner can read and write it. A reader finds either the old file or the new one, also after a crash of the
    machine. If the block raises, nothing is changed. A later call removes the temporary files of killed processes when
    these files are an hour old.

    Raises:
        OSError: The file cannot be written, or is a device, a pipe or a socket; the old file is unchanged.
    """
    _check_is_file(path)
    _sweep(path)
    # In the same directory, because a rename is one step only within a file system.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".tmp", dir=path.parent)
    try:
        with open(descriptor, "w+b") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    if os.name == "posix":
        _sync_directory(path.parent)


def _sweep(path: Path) -> None:
    """Remove the temporary files of processes that were killed."""
    with suppress(OSError):
        for temporary in path.parent.glob(f".{glob.escape(path.name)}-*.tmp"):
            if temporary.lstat().st_mtime < time.time() - _STALE:
                temporary.unlink()


def _check_is_file(path: Path) -> None:
    """Raise for a device, a pipe or a socket: root could replace even /dev/null, and break the machine."""
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode  # of the target if it is a link, such as /dev/stdout
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _sync_directory(path: Path) -> None:
    """Let the rename survive a crash of the machine, if the file system supports that."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _cipher(encryption_key: str) -> Cipher:
    if len(check_instance("encryption_key", encryption_key, str).strip()) < 16:
        raise ValueError("encryption_key must have at least 16 characters")
    try:
        from .encryption import Cipher
    except ImportError as error:
        raise ImportError("encryption_key needs cryptography: pip install 'ld-autoconfig[cache]'") from error
    return Cipher(encryption_key, _PURPOSE)


def _document(content: PutContent, saved_at: datetime) -> Iterator[bytes]:
    """Yield the JSON in pieces, because encoding it in one call would block the other threads of the process."""
    yield b'{"savedAt":%.3f,"content":{"environments":{' % saved_at.timestamp()
    yield from _members(content.environments.items())
    yield b'},"filters":{'
    yield from _members(content.filters.items())
    yield b"}}}"


def _members(items: Iterable[tuple[str, EnvironmentRep | FilterRep]]) -> Iterator[bytes]:
    comma = ""
    for id, rep in items:
        yield f"{comma}{_encode(id)}:{_encode(rep.to_json())}".encode()
        comma = ","


def _encode(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
