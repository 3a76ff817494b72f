"""Which service is followed, and how it is reached: by the options, and the environment variables in their stead."""

from __future__ import annotations

import argparse
import os

import attrs

from ..config import HTTPConfig
from ..identifiers import AutoConfigKey, mask_repr
from ..validation import check_url
from .arguments import UsageError, checked_key, seconds

DEFAULT_URI = "https://stream.launchdarkly.com"


@attrs.frozen
class Connection:
    """
    The service, and the way there.

    Attributes:
        uri: The service's base URI.
        key: The auto-configuration key. Masked in the repr.
        http_config: Proxy and certificates.
    """

    uri: str
    key: AutoConfigKey = attrs.field(repr=mask_repr)
    http_config: HTTPConfig


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options that :func:`connection` reads."""
    group = parser.add_argument_group("the stream")
    group.add_argument("--uri", help=f"the service's base URI (or set STREAM_URI; default {DEFAULT_URI})")
    keys = group.add_mutually_exclusive_group()
    keys.add_argument(
        "--key",
        help="the auto-configuration key, rel-… (better set AUTO_CONFIG_KEY: all on this machine can see arguments)",
    )
    keys.add_argument(
        "--key-file",
        metavar="FILE",
        help="a file with the key; a line break at its end does not count (or set AUTO_CONFIG_KEY_FILE)",
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="give up, with exit code 4, if not connected by then (default: go on trying for ever)",
    )
    group.add_argument(
        "--proxy", metavar="URL", help="the proxy to use (or set HTTPS_PROXY, HTTP_PROXY and NO_PROXY as usual)"
    )
    group.add_argument(
        "--ca-file",
        metavar="FILE",
        help="CA certificates (PEM) to trust instead of the usual ones (or set REQUESTS_CA_BUNDLE)",
    )


def connection(options: argparse.Namespace) -> Connection:
    """
    Return what the options say, and the environment where they say nothing.

    Raises:
        UsageError: There is no key, or a value cannot be used.
    """
    variable = os.environ.get("STREAM_URI") or DEFAULT_URI
    uri, named = (variable, "STREAM_URI") if options.uri is None else (options.uri, "--uri")
    try:
        check_url(named, uri)
        if options.proxy is not None:
            check_url("--proxy", options.proxy)
        key = checked_key(*_key(options))
    except ValueError as error:
        raise UsageError(str(error)) from None
    if options.ca_file is not None and not os.access(options.ca_file, os.R_OK):
        raise UsageError("the file of --ca-file does not exist or cannot be read")
    return Connection(uri, key, HTTPConfig(proxy_url=options.proxy, ca_certs=options.ca_file))


def _key(options: argparse.Namespace) -> tuple[str, str]:
    """Return the key, and before it the name of what it was taken from."""
    if options.key is not None:
        return "--key", options.key
    if options.key_file is not None:
        return "--key-file", _read_key("--key-file", options.key_file)
    if key := os.environ.get("AUTO_CONFIG_KEY"):
        return "AUTO_CONFIG_KEY", key
    if path := os.environ.get("AUTO_CONFIG_KEY_FILE"):
        return "AUTO_CONFIG_KEY_FILE", _read_key("AUTO_CONFIG_KEY_FILE", path)
    raise UsageError("no key; give one with --key, --key-file, AUTO_CONFIG_KEY or AUTO_CONFIG_KEY_FILE")


def _read_key(named: str, path: str) -> str:
    # Neither the path nor the text of the error is shown: somebody may have taken --key-file for --key.
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().rstrip("\r\n")
    except OSError as error:
        raise UsageError(f"cannot read the file of {named}: {os.strerror(error.errno or 0)}") from None
    except ValueError:  # not UTF-8, or a path that no file can have
        raise UsageError(f"the file of {named} holds something else than a key") from None
