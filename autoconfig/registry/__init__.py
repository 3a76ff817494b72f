"""A handler that keeps the current picture, and what it is made of."""

from .registry import EnvironmentRegistry, RegistryChange, RegistryListener

__all__ = ["EnvironmentRegistry", "RegistryChange", "RegistryListener"]
