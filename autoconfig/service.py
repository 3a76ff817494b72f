"""LaunchDarkly's service as a source of messages, made of arguments of :class:`StreamManager`."""

from __future__ import annotations

from .config import HTTPConfig
from .keys import KeySource, key_reader, show_key
from .safe_logger import Logger
from .stream.cancel import CancelToken
from .stream.connection import Connector, endpoint
from .stream.source import EventStream
from .validation import check_instance, check_url, instance_or_default


class Service:
    """
    The event stream of one key; a :class:`autoconfig.stream.source.SourceMaker`.

    Args:
        key: See :class:`StreamManager`, which has these arguments, too.
        stream_uri: The base URI.
        http_config: Proxies, certificates, timeouts.
        protocol_version: Which version to ask for.

    Attributes:
        name: The masked key, or where it comes from.

    Raises:
        TypeError: An argument has the wrong type; the text names it.
        ValueError: The key or the URI is invalid; the text names the argument.
    """

    def __init__(self, key: KeySource, stream_uri: str, http_config: HTTPConfig | None, protocol_version: int) -> None:
        self._read_key = key_reader(key)
        self.name = show_key(key)
        check_url("stream_uri", stream_uri)
        self._config = instance_or_default("http_config", http_config, HTTPConfig)
        self._url = endpoint(stream_uri, check_instance("protocol_version", protocol_version, int))

    def __str__(self) -> str:
        return f"{self.name} at {self._url.partition('?')[0]}"

    def make(self, token: CancelToken, logger: Logger) -> EventStream:
        """Make the source of one manager."""
        connector = Connector(self._read_key, self._url, self._config, token)
        return EventStream(connector, self._config.max_event_bytes, logger)
