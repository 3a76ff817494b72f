"""The cache that LaunchDarkly's Relay Proxy keeps of its auto-configuration, read and written."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ..encryption import Cipher
from ..messages import CachedContent, EnvironmentRep, FilterRep, PutContent
from ..safe_logger import SafeLogger
from ..validation import check_instance

if TYPE_CHECKING:
    from redis import Redis

_PURPOSE = b"ld-relay autoconfig cache"
_READABLE = (1, 2)  # versions of the relay's form: 1 is that of v8, 2 that of v9, whose environments are the same here
_KINDS = {"environment": "env:", "filter": "filter:"}


class RelayStore:
    """
    Keeps the last known configuration in Redis or Valkey, for ``StreamManager(…, cache=…)``.

    The form is the Relay Proxy's own, so that relays and programs can share one cache: a hash with a field for each
    environment and filter, each encrypted with AES-256-GCM. It holds no time, so ``StreamStatus.content_at`` is the
    time of loading. As in the relay, an empty configuration deletes the hash. A field that cannot be read is ignored;
    one WARNING says how many. Needs the extra ``redis``.

    Args:
        redis: A client, ``redis.Redis(…)``, without ``decode_responses``. Give it a ``socket_timeout``: without one, a
            server that hangs blocks the cache's thread for ever. The stream does not wait for it in any case.
        cache_key: The name of the hash; the relay's ``AUTO_CONFIG_CACHE_KEY``. One for each profile.
        secret: The relay's ``AUTO_CONFIG_CACHE_ENCRYPTION_KEY``, or the auto-configuration key if that is not set.
        model_version: The version to write: 1, which all relays except the first of version 9 read; or 2, which
            version 8 does not read. Both are read.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The cache key or the secret is empty, the version is another one, or the client decodes responses.
    """

    def __init__(self, redis: Redis, cache_key: str, secret: str, *, model_version: int = 1) -> None:
        if not check_instance("cache_key", cache_key, str):
            raise ValueError("cache_key must not be empty")
        if check_instance("model_version", model_version, int) not in _READABLE:
            raise ValueError(f"model_version must be 1 or 2, not {model_version}")
        if redis.get_encoder().decode_responses:
            raise ValueError("redis must be a client without decode_responses, because the values are not text")
        self._redis = redis
        self._name = cache_key
        self._cipher = Cipher(secret, _PURPOSE)
        self._model_version = model_version
        self._log = SafeLogger(logging.getLogger("autoconfig.cache"))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}>"

    def load(self) -> CachedContent | None:
        """
        Return what was last saved; ``None`` if nothing usable was.

        Raises:
            redis.RedisError: The server cannot be reached, or refuses the command.
        """
        stored = cast(Mapping[bytes, bytes], self._redis.hgetall(self._name))
        items: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
        unusable = 0
        for field, value in stored.items():
            try:
                kind, id, data = self._decode(field, value)
                items[kind][id] = data
            except Exception:  # another program may have written anything
                unusable += 1
        if unusable:
            text = "Cannot use %d of %d entries of the cache %r: damaged, or written with another key or form"
            self._log.warning(text, unusable, len(stored), self._name)
        if unusable == len(stored):
            return None
        return CachedContent(PutContent.sorted(items["environment"].items(), items["filter"]))

    def save(self, content: PutContent) -> None:
        """
        Replace what was saved, in one transaction.

        Raises:
            redis.RedisError: The server cannot be reached, or refuses the command.
        """
        fields = {f"env:{id}": self._encode("environment", rep) for id, rep in content.environments.items()}
        fields |= {f"filter:{id}": self._encode("filter", rep) for id, rep in content.filters.items()}
        with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.delete(self._name)
            if fields:
                pipeline.hset(self._name, mapping=cast(dict[Any, Any], fields))
            pipeline.execute()

    def _encode(self, kind: str, rep: EnvironmentRep | FilterRep) -> bytes:
        document = {"kind": kind, "modelVersion": self._model_version, "data": rep.to_json()}
        return self._cipher.encrypt(json.dumps(document, separators=(",", ":")).encode())

    def _decode(self, field: bytes, value: bytes) -> tuple[str, str, EnvironmentRep | FilterRep]:
        """Return kind, id and content of a field; ``ValueError`` if it has another form."""
        document = json.loads(self._cipher.decrypt(value))
        if not isinstance(document, dict) or document.get("modelVersion") not in _READABLE:
            raise ValueError("another form")
        kind, name = document.get("kind"), field.decode()
        if kind not in _KINDS or not name.startswith(_KINDS[kind]):
            raise ValueError("another kind")
        form: type[EnvironmentRep] | type[FilterRep] = EnvironmentRep if kind == "environment" else FilterRep
        return kind, name.removeprefix(_KINDS[kind]), form.from_json(document.get("data"))
