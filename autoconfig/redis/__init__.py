"""A fleet of processes behind one stream: a leader mirrors it into Redis, and all others follow that."""

from .leader import EvictionError, Leader, LeaderStatus
from .source import LeaderSeen, RedisSource

__all__ = ["EvictionError", "Leader", "LeaderSeen", "LeaderStatus", "RedisSource"]
