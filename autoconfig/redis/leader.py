"""The leader of a fleet: elected among several, it mirrors its stream into Redis and hands over when it ends."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import attrs

from .. import forks
from ..exceptions import AutoConfigError, ForkedError, StreamError
from ..handler import MessageHandler
from ..manager import StreamManager
from ..messages import DELETE_EVENT
from ..safe_logger import Logger, SafeLogger, log_aside
from ..status import StreamState
from ..stream.cancel import CancelToken
from ..validation import check_callable, check_seconds
from ..waiting import WaitingRoom
from . import scripts
from .eviction import EvictionError, check_eviction
from .form import META_FIELDS, Change, Fields, Form, Picture, difference, encode_changes, summary
from .link import Link, check_redis_url, linked, show_url
from .mirror import Mirror

_KEPT = 1000  # entries of the log
_LARGEST = 65536  # bytes of an entry; followers read the whole picture instead of a larger one
_LONGEST_LEASE = 10.0  # seconds; after three of these without a sign, followers say that nobody leads
_POLLS = 3  # signs of life, and looks for them, in a lease
_PATIENCE = 10  # leases without a first put after which others may try
_GRACE = 0.5  # seconds that close() leaves for handing over
_RETRIES = (0.1, 2.0)  # seconds before the first and the last attempt to reach Redis
_EVICTION_LOOKS = 30.0  # seconds between two looks of the one that leads at what Redis may evict


@attrs.frozen
class LeaderStatus:
    """
    How a leader is doing.

    Attributes:
        leading: Whether it leads, as far as it knows: what it writes is refused if another one leads by now.
        term: Its term, which began at the clock in milliseconds; 0 if it does not lead.
        since: When it began to lead, in seconds since 1970; ``None`` if it does not lead.
        sequence: The position of the last write.
        writes: How many there were.
        takeovers: How often it began to lead.
        error: Why it does not reach Redis or does not lead; ``None`` if all is well. Holds no secret.
    """

    leading: bool = False
    term: int = 0
    since: float | None = None
    sequence: int = 0
    writes: int = 0
    takeovers: int = 0
    error: str | None = None


class Leader:
    """
    One of those that may lead a fleet: the one that does follows the service's stream and mirrors it into Redis.

    Run two or more, in different processes. One leads; another takes over when there was no sign of life for the time
    of a lease, or within a third of it when the leader is closed. Clocks are not compared for that. Each write is made
    by a script in Redis which makes sure that its caller leads, so a leader that was stopped and continues can do no
    harm.

    :meth:`start` creates one daemon thread, and the manager has its own. Nothing that Redis does is raised: it is
    logged, in :attr:`status`, and tried again. Needs the extra ``redis``.

    A leader may be made before a fork and started after it. In a child of the process in which it was started it leads
    nothing: it raises :class:`ForkedError` on use, its status says so, and the first use logs one WARNING.

    Nobody takes over while Redis may evict the configuration (``maxmemory-policy allkeys-…``). If that is set later,
    the one that leads says so, in its status and at ERROR, and goes on: what is evicted is written again.

    Args:
        url: Of Redis; see :class:`RedisSource`.
        name: Of the fleet. One for each auto-configuration profile.
        make_manager: Called in the leader's thread at the beginning of each term, with a handler that does nothing.
            Returns a manager of this handler, or of one that calls it, which is not started:
            ``lambda handler: StreamManager(key, handler=handler)``. Not one that follows a fleet.
        secret: Encrypts and authenticates what Redis keeps (AES-256-GCM). All of a fleet have the same.
        lease: Seconds, at most 10. A short one costs more commands, and a hand-over when a server is slow for a moment.
        logger: Default ``logging.getLogger("autoconfig.fleet")``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: The URL, the name, the secret or the lease is invalid.
    """

    def __init__(
        self,
        url: str,
        name: str,
        make_manager: Callable[[MessageHandler], StreamManager],
        *,
        secret: str | None = None,
        lease: float = 3.0,
        logger: Logger | None = None,
    ) -> None:
        check_redis_url(url)
        check_callable("make_manager", make_manager)
        self._url = url
        self._form = Form(name, secret)
        self._shown = f"{name!r} at {show_url(url)}"
        self._make_manager = make_manager
        if check_seconds("lease", lease) > _LONGEST_LEASE:
            raise ValueError(f"lease must be at most {_LONGEST_LEASE:g} seconds")
        self._lease = lease
        self._log = SafeLogger(logging.getLogger("autoconfig.fleet") if logger is None else logger)
        self._number = secrets.token_hex(4)
        self._process: int | None = None  # in which it was started
        self._warned_in: int | None = None  # the fork that was warned
        self._token = CancelToken()  # interrupts the link
        self._room = WaitingRoom()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._status = LeaderStatus()
        # All below belongs to the thread.
        self._manager: StreamManager | None = None
        self._mirror: Mirror | None = None
        self._term = 0  # the last one of this leader
        self._begun_at = 0.0  # monotonic; the stream of this term
        self._sequence = 0  # of the last write
        self._birth = b""
        self._in_step = False  # whether Redis has what was written there last
        self._is_log_ahead = False  # of the picture, after a part of Redis was restored
        self._next_beat = 0.0  # monotonic
        self._seen: tuple[int, bytes] = (-1, b"")  # another leader's last sign of life
        self._seen_at = 0.0  # monotonic
        self._looked_at = 0.0
        self._stays_out_until = 0.0
        self._next_eviction_look = 0.0  # monotonic
        self._eviction = ""  # what was found then
        self._failure = ""  # since the last step that Redis took
        self._delay = _RETRIES[0]  # before the next attempt to reach it

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._shown}{', leading' if self._status.leading else ''}>"

    @property
    def owner(self) -> str:
        """The name of this leader in Redis, made of host, process and a random number."""
        return f"{socket.gethostname()}:{os.getpid()}:{self._number}"

    @property
    def status(self) -> LeaderStatus:
        """A snapshot; from any thread, without blocking."""
        self._is_forked()
        return self._status

    def start(self) -> None:
        """
        Begin to look whether somebody leads; returns at once.

        Raises:
            RuntimeError: It was started or closed before, or the system has no thread left.
            ForkedError: It was started before a fork, in the parent process; make a new one.
        """
        self._check_process()
        if self._thread is not None or self._closing:
            raise RuntimeError("the leader was started or closed before; make a new one")
        thread = threading.Thread(target=self._run, name="autoconfig-leader", daemon=True)
        self._process = os.getpid()
        forks.add(self)
        thread.start()
        self._thread = thread

    def wait_until_leading(self, timeout: float | None = None) -> bool:
        """
        Wait until it leads; return whether it does. ``False`` also at once when it is closed.

        Raises:
            ForkedError: It was started before a fork, in the parent process.
        """
        self._check_process()
        self._room.wait(lambda: self._status.leading or self._closing, timeout)
        return self._status.leading

    def close(self, timeout: float = 5.0) -> bool:
        """
        Hand over and end; another one leads within a third of a lease. May be called from any thread, and again.

        In a forked child it does nothing and returns ``True``.

        Args:
            timeout: How many seconds to wait. Redis is given half a second at most.

        Returns:
            Whether all ended.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._has_forked():
            return True
        self._closing = True
        self._room.wake()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(min(_GRACE, max(0.0, deadline - time.monotonic())))
        if thread.is_alive():  # Redis does not answer
            self._token.cancel()
            thread.join(max(0.3, deadline - time.monotonic()))
        if not thread.is_alive():
            self._token.close()
            self._process = None
            forks.discard(self)
        return not thread.is_alive()

    def __enter__(self) -> Leader:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._is_closing():
                try:
                    with linked(self._url, self._token, max(1.0, self._lease)) as link:
                        self._serve(link)
                except Exception as error:  # whatever it is, the thread lives on and tries again
                    if self._is_closing():
                        break
                    self._failed(error)
                    self._room.wait(self._is_closing, self._delay)
                    self._delay = min(2 * self._delay, _RETRIES[1])
        finally:
            self._stop_following()
            self._set(leading=False, term=0, since=None)

    def _is_closing(self) -> bool:
        return self._closing

    def _check_process(self) -> None:
        if self._is_forked():
            raise ForkedError

    def _is_forked(self) -> bool:
        """Return whether it is the parent's, of which this is a fork; the first time, warn."""
        if not self._has_forked():
            return False
        if self._warned_in != os.getpid():
            self._warned_in = os.getpid()
            text = "%r runs in the parent process only: this fork has to make and start its own"
            log_aside(self._log, logging.WARNING, text, self)  # a thread of the parent may have held a handler's lock
        return True

    def _has_forked(self) -> bool:
        if self._process in (None, os.getpid()):
            return False
        self._abandon()  # again, if a hook of Python's did
        return True

    def _abandon(self) -> None:
        """In a forked child: let go of the parent's connection to Redis, and wait for nobody."""
        self._closing = True
        self._token.abandon()
        self._status = LeaderStatus(error=str(ForkedError()))

    def _failed(self, error: Exception) -> None:
        self._in_step = False
        if not isinstance(error, StreamError | EvictionError):
            self._log.error("The leader's thread failed; it goes on", exc_info=error)
        self._failure = str(error) if isinstance(error, AutoConfigError) else type(error).__name__
        self._report(self._failure, logging.ERROR if isinstance(error, EvictionError) else logging.WARNING)

    def _report(self, text: str, level: int) -> None:
        if text != self._status.error:
            self._log.log(level, "The fleet %s: %s", self._shown, text)
            self._set(error=text)

    def _serve(self, link: Link) -> None:
        """Look for a leader, or lead, until the link fails or this one is closed."""
        if not self._status.leading:
            check_eviction(link)
        self._in_step = False
        self._looked_at = self._next_beat = self._next_eviction_look = 0.0
        while not self._is_closing():
            if self._status.leading:
                self._lead(link)
            else:
                self._look(link)
            self._recovered()
        if self._status.leading:
            self._release(link)

    def _recovered(self) -> None:
        if self._failure:
            self._delay = _RETRIES[0]
            self._log.info("The fleet %s: Redis can be used again", self._shown)
            if self._status.error == self._failure:
                self._set(error=None)
            self._failure = ""

    def _look(self, link: Link) -> None:
        """Take over if nobody leads or there was no sign of life for long; else wait."""
        now = time.monotonic()
        found = summary(link.call("HMGET", self._form.state, *META_FIELDS))
        sign = (found.term, found.beat)
        # This process was stopped, or Redis was: then the leader had no chance to give a sign.
        was_away = now - self._looked_at > self._lease or time.monotonic() - now > self._lease / _POLLS
        self._looked_at = time.monotonic()
        self._sequence = max(self._sequence, found.sequence)
        if sign != self._seen or was_away:
            if self._seen[0] >= 0 and found.owner and sign != self._seen:
                self._stop_following()  # the one that leads is alive
            self._seen, self._seen_at = sign, time.monotonic()
        is_free = not found.owner or found.term < self._term
        if (is_free or now - self._seen_at >= self._lease) and now >= self._stays_out_until:
            check_eviction(link)
            self._take_over(link, found)
        if not self._status.leading:
            self._room.wait(self._is_closing, self._lease / _POLLS)

    def _take_over(self, link: Link, found: Picture) -> None:
        term = max(found.term + 1, self._term + 1, time.time_ns() // 1_000_000)
        before = str(found.term) if found.term else ""
        if not self._eval(link, scripts.TAKE, 1, self.owner, term, before, found.beat):
            return
        self._log.info("Leads the fleet %s, in term %d", self._shown, term)
        self._term = term
        self._in_step = False
        self._next_beat = 0.0
        self._set(leading=True, term=term, since=time.time(), error=None, takeovers=self._status.takeovers + 1)
        if self._manager is None:
            try:
                self._follow()
            except Exception as error:  # what the application's function raises may hold anything
                self._hand_over(link, f"its manager cannot be made: {type(error).__name__}", _PATIENCE * self._lease)

    def _follow(self) -> None:
        mirror = Mirror(self._room.wake)
        manager = self._make_manager(mirror)
        manager._observe(mirror)
        manager.start()
        self._manager, self._mirror = manager, mirror
        self._begun_at = time.monotonic()

    def _stop_following(self) -> None:
        manager, self._manager, self._mirror = self._manager, None, None
        if manager is not None:
            manager.close()

    def _lead(self, link: Link) -> None:
        """Give a sign of life if it is time, and write what there is; then wait for either."""
        mirror = self._mirror
        assert mirror is not None
        if time.monotonic() >= self._next_beat:
            self._next_beat = time.monotonic() + self._lease / _POLLS
            if not self._beat(link) or not self._is_of_use(link):
                return
            self._look_for_eviction(link)
        if mirror.has_picture and not self._in_step:
            self._bring_in_step(link, mirror)
        elif mirror.has_picture and mirror.is_pending:
            changes, is_put = mirror.take()
            if changes:
                self._write(link, changes, kind=b"p" if is_put else b"c", birth=self._birth)
        else:
            left = max(0.0, self._next_beat - time.monotonic())
            self._room.wait(lambda: self._closing or mirror.is_pending, left)

    def _beat(self, link: Link) -> bool:
        """Give a sign of life; return whether this one still leads."""
        answer = self._eval(link, scripts.BEAT, 1, self.owner, self._term)
        if answer is None:
            self._lost(link)
            return False
        if self._in_step and (int(answer[0]), answer[1]) != (self._sequence, self._birth):
            self._log.warning("The fleet %s: Redis has lost writes, and gets them again", self._shown)
            self._in_step = False
        return True

    def _is_of_use(self, link: Link) -> bool:
        """Return whether the stream is; else let others try, which may reach the service."""
        manager, mirror = self._manager, self._mirror
        waited = time.monotonic() - self._begun_at
        if manager is None or manager.status.state is StreamState.OFF:
            self._hand_over(link, "its stream has ended", _PATIENCE * self._lease)
            return False
        if waited > _PATIENCE * self._lease and mirror is not None and not mirror.has_picture:
            self._hand_over(link, f"nothing came from the service for {waited:.0f} s", 2 * self._lease)
            return False
        return True

    def _look_for_eviction(self, link: Link) -> None:
        """Say it if Redis may evict the configuration by now; leading goes on, and what is evicted is written again."""
        if time.monotonic() < self._next_eviction_look:
            return
        self._next_eviction_look = time.monotonic() + _EVICTION_LOOKS
        try:
            check_eviction(link)
        except EvictionError as error:
            self._eviction = str(error)
            self._report(self._eviction, logging.ERROR)
        else:
            if self._eviction and self._status.error == self._eviction:
                self._set(error=None)
            self._eviction = ""

    def _hand_over(self, link: Link, reason: str, stay_out: float) -> None:
        """Lead no more, and leave it to others for so many seconds."""
        self._log.error("Hands over the fleet %s: %s", self._shown, reason)
        self._set(error=reason)
        self._release(link)
        self._stop_following()
        self._stays_out_until = time.monotonic() + stay_out

    def _lost(self, link: Link) -> None:
        """
        Lead no more. The stream is kept until another leader gives a sign of life.

        If Redis was emptied, or has an older copy, nobody leads, and all can be written again at once.
        """
        self._log.warning("Leads the fleet %s no more: another one does, or Redis has lost who does", self._shown)
        self._set(leading=False, term=0, since=None)
        found = summary(link.call("HMGET", self._form.state, *META_FIELDS))
        self._seen, self._seen_at = (found.term, found.beat), time.monotonic()
        self._looked_at = time.monotonic()
        if not found.owner or found.term < self._term:
            self._take_over(link, found)

    def _release(self, link: Link) -> None:
        self._eval(link, scripts.RELEASE, 1, self.owner, self._term)
        self._set(leading=False, term=0, since=None)

    def _bring_in_step(self, link: Link, mirror: Mirror) -> None:
        """Write what Redis lacks after it was not seen for a while; the position moves on in any case."""
        found = self._form.picture(link.call("HGETALL", self._form.state))
        wanted = mirror.take_all()
        stored = self._open(found)
        if stored is None or self._is_log_ahead:
            self._is_log_ahead = False
            changes = difference({}, wanted)
            self._write(link, changes, kind=b"r", birth=secrets.token_hex(8).encode(), before=found, anew=True)
        else:
            self._write(link, difference(stored, wanted), kind=b"p", birth=found.birth, before=found)

    def _open(self, found: Picture) -> Fields | None:
        if not found.sequence:
            return None
        try:
            return self._form.open_all(found.fields)
        except StreamError:  # of another secret
            return None

    def _write(
        self,
        link: Link,
        changes: list[Change],
        *,
        kind: bytes,
        birth: bytes,
        before: Picture | None = None,
        anew: bool = False,
    ) -> None:
        last = before.sequence if before else self._sequence
        sequence = last + 1
        if before:  # followers ignore a position that is not above theirs, which Redis may have forgotten
            sequence = max(sequence, self._sequence + 1, time.time_ns() // 1_000_000)
        data = encode_changes(changes) if kind != b"r" else b"[]"
        if len(data) > _LARGEST:
            kind, data = b"r", b"[]"
        sealed = self._form.seal(data, b"#%d after %d" % (sequence, last))
        pairs, gone = self._fields_of(changes)
        head = (self.owner, self._term, last, sequence, birth, kind, sealed, _KEPT, int(anew), len(pairs) // 2)
        answer = self._eval(link, scripts.WRITE, 2, *head, *pairs, *gone)
        if answer == b"written":
            self._sequence, self._birth, self._in_step = sequence, birth, True
            self._set(sequence=sequence, writes=self._status.writes + 1)
        else:
            self._in_step = False
            if answer == b"fenced":
                self._lost(link)
            self._is_log_ahead = answer == b"ahead"

    def _fields_of(self, changes: list[Change]) -> tuple[list[bytes], list[bytes]]:
        """Return the fields to set, each followed by its value, and those to delete; a later change wins."""
        newest = {change.field: change for change in changes}
        kept = [change for change in newest.values() if change.event != DELETE_EVENT]
        pairs = [part for _, field, data in kept for part in (field, self._form.seal(data, field))]
        return pairs, [field for field, change in newest.items() if change.event == DELETE_EVENT]

    def _eval(self, link: Link, script: bytes, keys: int, *arguments: Any) -> Any:
        return link.call("EVAL", script, keys, *(self._form.state, self._form.log)[:keys], *arguments)

    def _set(self, **changes: Any) -> None:
        self._status = attrs.evolve(self._status, **changes)
        self._room.wake()
