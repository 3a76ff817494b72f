"""Several handlers that are told the same."""

from __future__ import annotations

import logging

from ..environments import EnvironmentParams, FilterParams
from ..handler import MessageHandler
from ..identifiers import EnvironmentID, FilterID

_log = logging.getLogger("autoconfig")


class Chain:
    """Hands each call on to several handlers, the first of which is the registry."""

    def __init__(self, *handlers: MessageHandler) -> None:
        self._handlers = handlers

    def add_environment(self, params: EnvironmentParams) -> None:
        """Add it to all, or to none."""
        self._add("add_environment", params, "delete_environment", params.env_id)

    def update_environment(self, params: EnvironmentParams) -> None:
        """Update it in all; the registry goes first, so that a withdrawn key is gone in any case."""
        for handler in self._handlers:
            handler.update_environment(params)

    def received_all_environments(self) -> None:
        """Tell all."""
        for handler in self._handlers:
            handler.received_all_environments()

    def delete_environment(self, id: EnvironmentID) -> None:
        """Delete it from all; the registry goes first."""
        for handler in self._handlers:
            handler.delete_environment(id)

    def add_filter(self, params: FilterParams) -> None:
        """Add it to all, or to none."""
        self._add("add_filter", params, "delete_filter", params.id)

    def delete_filter(self, id: FilterID) -> None:
        """Delete it from all, from the registry last."""
        # The other way round: when the filter comes back before a failed deletion is tried again, there is no call.
        for handler in reversed(self._handlers):
            handler.delete_filter(id)

    def _add(self, add: str, params: EnvironmentParams | FilterParams, delete: str, id: str) -> None:
        """Add to all, or to none: when an addition that failed is overtaken by a deletion, there is no call."""
        for count, handler in enumerate(self._handlers):
            try:
                getattr(handler, add)(params)
            except BaseException:
                for other in reversed(self._handlers[:count]):
                    try:
                        getattr(other, delete)(id)
                    except BaseException:
                        _log.exception("A handler failed in %s, when an addition was taken back", delete)
                raise
