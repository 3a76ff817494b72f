"""Which service is followed, and how it is reached: by options or, failing those, by environment variables."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from ..config import HTTPConfig
from ..exceptions import KeyRejectedError
from ..handler import MessageHandler
from ..identifiers import AutoConfigKey, mask_repr
from ..manager import StreamManager
from ..validation import check_url
from .arguments import EXIT_CODES, FILE, NoKeyError, UsageError, checked_key, seconds
from .calls import Call, CallQueue
from .outcome import FAILURE, KEY_REJECTED

DEFAULT_URI = "https://stream.launchdarkly.com"
_GLANCE = 0.25  # seconds between two looks at the clock and the manager


@attrs.frozen
class Connection:
    """
    The service, and the way there.

    Attributes:
        uri: The service's base URI.
        uri_from: Where that was said: an option, a variable, or ``"the default"``.
        key: The auto-configuration key. Masked in the repr.
        key_from: Where that was said.
        key_file: The file that it stands in, if that can be read again.
        http_config: Proxy and certificates.
    """

    uri: str
    uri_from: str
    key: AutoConfigKey = attrs.field(repr=mask_repr)
    key_from: str
    key_file: Path | None
    http_config: HTTPConfig

    def manager(self, handler: MessageHandler) -> StreamManager:
        """Return a manager that follows the stream; a key's file is read again at each attempt to connect."""
        return StreamManager(self.key_file or self.key, self.uri, handler, self.http_config)


def add_connection_options(
    parser: argparse.ArgumentParser, *, timeout: str, default_timeout: float | None = None
) -> None:
    """
    Declare the options that :func:`connection_from` reads, and ``--timeout``; explain the exit codes.

    Args:
        parser: The sub-command's.
        timeout: The help of ``--timeout``.
        default_timeout: Its default, in seconds.
    """
    parser.epilog = EXIT_CODES
    group = parser.add_argument_group("the stream")
    group.add_argument("--uri", help=f"the service's base URI (or set STREAM_URI; default {DEFAULT_URI})")
    keys = group.add_mutually_exclusive_group()
    keys.add_argument(
        "--key",
        help="the auto-configuration key, rel-… (prefer AUTO_CONFIG_KEY: every user of this machine can see arguments)",
    )
    key_file = keys.add_argument(
        "--key-file",
        metavar="FILE",
        help="a file with the key, read again at each connection; white space around the key does not count "
        "(or set AUTO_CONFIG_KEY_FILE)",
    )
    group.add_argument("--timeout", type=seconds, metavar="SECONDS", default=default_timeout, help=timeout)
    group.add_argument(
        "--proxy", metavar="URL", help="the proxy to use (or set HTTPS_PROXY, HTTP_PROXY and NO_PROXY as usual)"
    )
    ca_file = group.add_argument(
        "--ca-file",
        metavar="FILE",
        help="CA certificates (PEM) to trust instead of the usual ones (or set REQUESTS_CA_BUNDLE)",
    )
    for option in (key_file, ca_file):
        option.complete = FILE  # type: ignore[attr-defined]  # what shtab looks for


def connection_from(options: argparse.Namespace) -> Connection:
    """
    Return what the options say, and the environment where they say nothing.

    Raises:
        UsageError: There is no key, or a value cannot be used.
    """
    variable = os.environ.get("STREAM_URI")
    uri, uri_from = (variable, "STREAM_URI") if variable else (DEFAULT_URI, "the default")
    if options.uri is not None:
        uri, uri_from = options.uri, "--uri"
    key_from, text, key_file = _key(options)
    try:
        check_url(uri_from, uri)
        if options.proxy is not None:
            check_url("--proxy", options.proxy)
    except ValueError as error:
        raise UsageError(str(error)) from None
    key = checked_key(key_from, text)
    if options.ca_file is not None and not os.access(options.ca_file, os.R_OK):
        raise UsageError("the file of --ca-file does not exist or cannot be read")
    http_config = HTTPConfig(proxy_url=options.proxy, ca_certs=options.ca_file)
    return Connection(uri, uri_from, key, key_from, key_file, http_config)


def exit_code(manager: StreamManager) -> int | None:
    """Return the exit code if the stream is off; the reason was logged, and so is on stderr."""
    try:
        return FAILURE if manager.join(timeout=0) else None
    except KeyRejectedError:
        return KEY_REJECTED


def glance(manager: StreamManager, calls: CallQueue, deadline: float) -> tuple[int | None, Iterator[Call]]:
    """Wait a moment for calls, but not beyond the deadline; return the exit code as before them, and the calls."""
    outcome = exit_code(manager)  # before the calls are taken, so that none of them is missed
    patience = 0.0 if outcome else min(_GLANCE, max(0.0, deadline - time.monotonic()))
    return outcome, calls.take(patience)


def _key(options: argparse.Namespace) -> tuple[str, str, Path | None]:
    """Return where the key was said, the key, and its file."""
    if options.key is not None:
        return "--key", options.key, None
    if options.key_file is not None:
        return "--key-file", *_read_key("--key-file", options.key_file)
    if key := os.environ.get("AUTO_CONFIG_KEY"):
        return "AUTO_CONFIG_KEY", key, None
    if path := os.environ.get("AUTO_CONFIG_KEY_FILE"):
        return "AUTO_CONFIG_KEY_FILE", *_read_key("AUTO_CONFIG_KEY_FILE", path)
    raise NoKeyError("no key; give one with --key, --key-file, AUTO_CONFIG_KEY or AUTO_CONFIG_KEY_FILE")


def _read_key(named: str, path: str) -> tuple[str, Path | None]:
    """Return the key in a file, and the file's path unless it is one that can be read only once, such as a pipe."""
    # Neither the path nor the text of the error is shown: somebody may have taken --key-file for --key.
    try:
        file = Path(path)
        again = file.is_file()
        return file.read_text("utf-8").strip(), file if again else None
    except OSError as error:
        raise UsageError(f"cannot read the file of {named}: {os.strerror(error.errno or 0)}") from None
    except ValueError:  # not UTF-8, or a path that no file can have
        raise UsageError(f"the file of {named} does not hold a key") from None
