"""
Redis: a fleet of processes behind one stream, and a cache of the last known configuration.

A fleet's leader mirrors its stream into Redis, and all others follow it there. The cache has the same form as the cache
of LaunchDarkly's Relay Proxy.
"""

from .eviction import EvictionError
from .leader import Leader
from .relay_store import RelayStore
from .source import RedisSource
from .status import LeaderSeen, LeaderStatus

__all__ = ["EvictionError", "Leader", "LeaderSeen", "LeaderStatus", "RedisSource", "RelayStore"]
