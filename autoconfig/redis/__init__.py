"""The last known configuration in Redis, in the form that LaunchDarkly's Relay Proxy keeps it in."""

from .relay_store import RelayStore

__all__ = ["RelayStore"]
