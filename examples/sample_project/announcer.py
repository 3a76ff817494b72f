"""Tells people what happens to their environments, for instance in a chat."""

from __future__ import annotations

from collections.abc import Callable

from autoconfig import EnvironmentID, EnvironmentParams, MessageHandler


class Announcer(MessageHandler):
    """
    Announces every change of the environments, but not the environments that exist at
    the beginning.

    If ``announce`` raises, the method raises, and the manager retries the call. So a
    method first announces and then remembers: an announcement may come twice, but none
    is lost.

    Args:
        announce: Called with a sentence, in the stream's thread, which waits until it
            returns.
    """

    def __init__(self, announce: Callable[[str], object]) -> None:
        self._announce = announce
        # It needs no lock, because only one thread calls the methods.
        self._known: dict[EnvironmentID, EnvironmentParams] = {}
        self._complete = False

    def add_environment(self, params: EnvironmentParams) -> None:
        if self._complete:
            self._announce(f"{name(params)} is new.")
        self._known[params.env_id] = params

    def update_environment(self, params: EnvironmentParams) -> None:
        for sentence in differences(self._known[params.env_id], params):
            self._announce(sentence)
        self._known[params.env_id] = params

    def delete_environment(self, id: EnvironmentID) -> None:
        known = self._known.get(id)  # unknown after an addition that raised
        if known:
            self._announce(f"{name(known)} was deleted.")
            del self._known[id]

    def received_all_environments(self) -> None:
        self._complete = True


def differences(before: EnvironmentParams, after: EnvironmentParams) -> list[str]:
    """Return sentences about a change; none holds a key."""
    found = []
    if name(before) != name(after):
        found.append(f"{name(before)} is {name(after)} now.")
    if before.sdk_key != after.sdk_key:
        old = after.expiring_sdk_key
        until = (
            f"is good until {old.expiration:%Y-%m-%d %H:%M} UTC"
            if old
            else "is not good any more"
        )
        found.append(f"{name(after)} has a new SDK key; the old one {until}.")
    return found


def name(params: EnvironmentParams) -> str:
    return f"{params.identifiers.proj_name} / {params.identifiers.env_name}"
