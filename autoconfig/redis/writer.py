"""Writes the leader's picture and its changes into Redis."""

from __future__ import annotations

import secrets
import time

from ..exceptions import StreamError
from ..messages import DELETE_EVENT
from . import scripts
from .election import Candidate
from .form import Change, Fields, Form, Picture, difference, encode_changes
from .link import Link
from .mirror import Mirror

_KEPT = 1000  # entries of the log
_LARGEST = 65536  # bytes of an entry; followers read the whole picture instead of a larger one
# The kinds of log entries: changes in order; changes that followers take as one put; a hint to read the whole picture.
_CHANGES, _PUT, _READ_PICTURE = b"c", b"p", b"r"


class Writer:
    """
    Keeps Redis in step with a mirror. Only the leader's thread uses it.

    Args:
        form: Encodes the items.
        candidate: The candidate that writes, with its term.

    Attributes:
        sequence: The position of the last write, or a higher one that was seen.
        writes: How many writes there were.
        in_step: Whether Redis still has the last write.
    """

    def __init__(self, form: Form, candidate: Candidate) -> None:
        self.sequence = 0
        self.writes = 0
        self.in_step = False
        self._form = form
        self._candidate = candidate
        self._birth = b""
        self._is_log_ahead = False  # of the picture, after only a part of Redis was restored

    def has_lost(self, sequence: int, birth: bytes) -> bool:
        """Return whether Redis has lost writes: it does not have the last one."""
        if not self.in_step or (sequence, birth) == (self.sequence, self._birth):
            return False
        self.in_step = False
        return True

    def write(self, link: Link, mirror: Mirror) -> bool:
        """
        Write the changes that Redis lacks; the mirror must have a picture.

        Returns:
            Whether the candidate still leads. If :attr:`in_step` is false then, the next call compares everything.
        """
        if not self.in_step:
            return self._write_difference(link, mirror)
        changes, is_put = mirror.take()
        if not changes:
            return True
        return self._write(link, changes, self.sequence, self.sequence + 1, _PUT if is_put else _CHANGES)

    def _write_difference(self, link: Link, mirror: Mirror) -> bool:
        """Compare the whole picture with what Redis has, and write the difference, at a new position in any case."""
        found = self._form.picture(link.call("HGETALL", self._form.state))
        wanted = mirror.take_all()
        stored = self._open(found)
        # Above every position that Redis may have forgotten, because followers ignore positions up to their own.
        sequence = max(found.sequence + 1, self.sequence + 1, time.time_ns() // 1_000_000)
        if stored is None or self._is_log_ahead:
            self._is_log_ahead = False
            self._birth = secrets.token_hex(8).encode()
            return self._write(link, difference({}, wanted), found.sequence, sequence, _READ_PICTURE, anew=True)
        self._birth = found.birth
        return self._write(link, difference(stored, wanted), found.sequence, sequence, _PUT)

    def _open(self, found: Picture) -> Fields | None:
        """Return the items in Redis; ``None`` if there are none, or they have another secret."""
        try:
            return self._form.open_all(found.fields) if found.sequence else None
        except StreamError:
            return None

    def _write(
        self, link: Link, changes: list[Change], before: int, sequence: int, kind: bytes, anew: bool = False
    ) -> bool:
        data = encode_changes(changes) if kind != _READ_PICTURE else b"[]"
        if len(data) > _LARGEST:
            kind, data = _READ_PICTURE, b"[]"
        sealed = self._form.seal(data, b"#%d after %d" % (sequence, before))
        pairs, deleted = self._fields_of(changes)
        who = self._candidate
        head = (who.owner, who.term, before, sequence, self._birth, kind, sealed, _KEPT, int(anew), len(pairs) // 2)
        answer = who.run(link, scripts.WRITE, 2, *head, *pairs, *deleted)
        self.in_step = answer == b"written"
        if self.in_step:
            self.sequence = sequence
            self.writes += 1
        else:
            self._is_log_ahead = answer == b"ahead"
        return bool(answer != b"fenced")

    def _fields_of(self, changes: list[Change]) -> tuple[list[bytes], list[bytes]]:
        """Return the fields to set, each followed by its value, and those to delete; a later change wins."""
        newest = {change.field: change for change in changes}
        kept = [change for change in newest.values() if change.event != DELETE_EVENT]
        pairs = [part for _, field, data in kept for part in (field, self._form.seal(data, field))]
        return pairs, [field for field, change in newest.items() if change.event == DELETE_EVENT]
