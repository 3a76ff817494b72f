"""The clients of one environment, seen through one filter: the one that serves, and the one that is being made."""

from __future__ import annotations

from ..environments import EnvironmentParams
from ..identifiers import EnvironmentID, FilterKey, mask
from .client import Client
from .state import ClientState, ClientStatus

Key = tuple[EnvironmentID, FilterKey]


class Slot:
    """
    The clients of one environment. The pool's lock guards it.

    Attributes:
        key: The environment's id and the filter's key.
        params: The newest state of the environment.
        asked: Whether somebody needs a client; in a lazy pool only after the first ``get``.
        gone: Whether the environment was deleted.
        serving: The client that ``get`` returns.
        candidate: The client with the newest key, until it works and becomes ``serving``.
        building: Whether a thread is making a client.
        planned: The number of the next start; ``None`` if none is planned.
        failures: How many clients with the newest key were refused or could not be made, since one last worked.
        error: See :class:`ClientStatus`.
    """

    def __init__(self, key: Key, params: EnvironmentParams, asked: bool) -> None:
        self.key = key
        self.params = params
        self.asked = asked
        self.gone = False
        self.serving: Client | None = None
        self.candidate: Client | None = None
        self.building = False
        self.planned: int | None = None
        self.failures = 0
        self.error: str | None = None

    @property
    def served(self) -> bool:
        """Whether a client has flags to evaluate."""
        return self.serving is not None and self.serving.worked

    @property
    def current(self) -> bool:
        """Whether the client that serves has the newest key, and no other is needed."""
        serving = self.serving
        return serving is not None and serving.sdk_key == self.params.sdk_key and not serving.refused

    def state(self) -> ClientState:
        """Return how the environment is served."""
        serving = self.serving
        if serving is None or not serving.worked:
            if not self.asked:
                return ClientState.IDLE
            return ClientState.REFUSED if self.failures else ClientState.STARTING
        if serving.sdk_key != self.params.sdk_key:
            return ClientState.ROTATING
        return ClientState.WORKING if serving.working else ClientState.INTERRUPTED

    def status(self, retired: int) -> ClientStatus:
        """Return the status, with the number of clients that are not closed yet."""
        key = self.serving.sdk_key if self.serving else ""
        return ClientStatus(self.state(), mask(key), retired, self.error)
