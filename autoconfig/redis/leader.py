"""The leader of a fleet: it follows the service's stream and mirrors that into Redis for the others."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import attrs

from .. import forks
from ..daemon_threads import LEAST_GRACE, daemon_thread, join_thread
from ..exceptions import AutoConfigError, ForkedError, StreamError
from ..handler import MessageHandler
from ..manager import StreamManager
from ..safe_logger import Logger, SafeLogger
from ..status import StreamState
from ..stream.cancel import CancelToken
from ..validation import check_callable, check_seconds
from ..waiting import SignalSafeCondition
from .election import Candidate
from .eviction import EvictionError, check_eviction
from .form import Form, Picture
from .link import Link, check_redis_url, linked, show_url
from .mirror import Mirror
from .status import LeaderStatus
from .writer import Writer

_LONGEST_LEASE = 10.0  # seconds; after three of these without a beat, followers report that nobody leads
_PATIENCE = 10  # leases without a first put after which others may try
_GRACE = 0.5  # seconds that close() leaves for handing over
_RETRIES = (0.1, 2.0)  # seconds before the first and the last attempt to reach Redis
_EVICTION_CHECKS = 30.0  # seconds between two checks, while this one leads, of what Redis may evict


class Leader:
    """
    Leads a fleet unless another leader does: it follows the service's stream and copies it into Redis.

    Run two or more, in different processes. One of them leads. Another one takes over when it has seen no beat (sign of
    life) for the time of a lease, or within a third of a lease after the leader was closed. Clocks of machines are not
    compared. Each write is a script in Redis that first checks who leads, so a paused leader that continues does no
    harm.

    :meth:`start` creates one daemon thread, and the manager has its own. Errors of Redis are never raised: they are
    logged, shown in :attr:`status`, and retried. Needs the extra ``redis``.

    A leader may be made before a fork and started after it. A child that was forked after the start does not lead: each
    use raises :class:`ForkedError`, the status has this error, and the first use logs one WARNING.

    Nobody takes over while Redis may evict the configuration (``maxmemory-policy allkeys-…``). If that is set later,
    the leader reports it in its status and at ERROR, and continues: it writes evicted items again.

    Args:
        url: The address of Redis; see :class:`RedisSource`.
        name: The fleet's name, one for each auto-configuration profile.
        make_manager: Called in the leader's thread at the beginning of a term, with a handler that does nothing.
            Returns a manager, not started, of this handler or of one that calls it:
            ``lambda handler: StreamManager(key, handler=handler)``. The manager must not follow a fleet.
        secret: Encrypts and authenticates what Redis keeps (AES-256-GCM). All members of a fleet need the same.
        lease: Seconds, at most 10. A short lease needs more commands, and another leader takes over as soon as a server
            is slow for a moment.
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
        self._candidate = Candidate(self._form, lease)
        self._process: int | None = None  # the id of the process that started it
        self._token = CancelToken()  # interrupts the link
        self._changed = SignalSafeCondition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._status = LeaderStatus()
        # The thread alone uses these:
        self._writer = Writer(self._form, self._candidate)
        self._followed: tuple[StreamManager, Mirror] | None = None
        self._following_since = 0.0  # monotonic
        self._next_eviction_check = 0.0  # monotonic
        self._eviction = ""  # the error that was found then
        self._failure = ""  # why Redis could not be used; "" since it could be
        self._delay = _RETRIES[0]  # before the next attempt to reach it

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._shown}{', leading' if self._status.leading else ''}>"

    @property
    def owner(self) -> str:
        """The name of this leader in Redis, made of host, process and a random number."""
        return self._candidate.owner

    @property
    def status(self) -> LeaderStatus:
        """A snapshot; from any thread, without blocking."""
        self._is_forked()
        return self._status

    def start(self) -> None:
        """
        Begin to look for a leader, and to lead if there is none; returns at once.

        Raises:
            RuntimeError: It was started or closed before, or the system has no thread left.
            ForkedError: It was started before a fork, in the parent process; make a new one.
        """
        self._check_process()
        if self._thread is not None or self._closing:
            raise RuntimeError("the leader was started or closed before; make a new one")
        thread = daemon_thread("autoconfig-leader", self._run)
        self._process = os.getpid()
        forks.add(self)
        thread.start()
        self._thread = thread

    def wait_until_leading(self, timeout: float | None = None) -> bool:
        """
        Wait until it leads; return whether it does. When it is closed, it returns at once.

        Raises:
            RuntimeError: It was not started, so that it would wait for ever.
            ForkedError: It was started before a fork, in the parent process.
        """
        self._check_process()
        if self._thread is None and not self._closing:
            raise RuntimeError("wait_until_leading() of a leader that was not started would wait for ever")
        self._changed.wait_for(lambda: self._status.leading or self._closing, timeout)
        return self._status.leading

    def close(self, timeout: float = 5.0) -> bool:
        """
        Hand over and end; another one takes over within a third of a lease. May be called from any thread, and again.

        In a forked child it does nothing and returns ``True``.

        Args:
            timeout: How many seconds to wait. Redis is given half a second at most.

        Returns:
            Whether the thread has ended.
        """
        deadline = time.monotonic() + check_seconds("timeout", timeout, zero=True)
        if self._has_forked():
            return True
        self._closing = True
        self._changed.notify_all()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return thread is None
        ended = join_thread(thread, min(deadline, time.monotonic() + _GRACE))
        if not ended:  # Redis does not answer
            self._token.cancel()
            ended = join_thread(thread, max(deadline, time.monotonic() + LEAST_GRACE))
        if ended:
            self._token.close()
            self._process = None
            forks.discard(self)
        return ended

    def __enter__(self) -> Leader:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._is_closing():
                try:
                    with linked(self._url, self._token, max(1.0, self._lease)) as link:
                        self._serve(link)
                except BaseException as error:  # any error, SystemExit too: the thread continues and retries
                    if self._is_closing():
                        break
                    self._failed(error)
                    self._changed.wait_for(self._is_closing, self._delay)
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
        """Return whether it runs in the parent process; the first time, log a WARNING."""
        if not self._has_forked():
            return False
        forks.warn_once(self, self._log)
        return True

    def _has_forked(self) -> bool:
        if self._process in (None, os.getpid()):
            return False
        self._abandon()  # Python calls it after forks of its own, and not after those that C code makes
        return True

    def _abandon(self) -> None:
        """In a forked child: release the parent's connection to Redis, and wait for nobody."""
        self._closing = True
        self._token.abandon()
        self._status = LeaderStatus(error=str(ForkedError()))

    def _failed(self, error: BaseException) -> None:
        self._writer.in_step = False
        if not isinstance(error, StreamError | EvictionError):
            self._log.error("The leader's thread failed, and continues", exc_info=error)
        self._failure = str(error) if isinstance(error, AutoConfigError) else type(error).__name__
        self._report(self._failure, logging.ERROR if isinstance(error, EvictionError) else logging.WARNING)

    def _recovered(self) -> None:
        if self._failure:
            self._delay = _RETRIES[0]
            self._log.info("The fleet %s: Redis can be used again", self._shown)
            self._withdraw(self._failure)
            self._failure = ""

    def _report(self, error: str, level: int) -> None:
        if error != self._status.error:
            self._log.log(level, "The fleet %s: %s", self._shown, error)
            self._set(error=error)

    def _withdraw(self, error: str) -> None:
        if error and error == self._status.error:
            self._set(error=None)

    def _serve(self, link: Link) -> None:
        """Lead, or wait to take over, until the link fails or this one is closed."""
        if not self._status.leading:
            check_eviction(link)
        self._candidate.reconnected()
        self._writer.in_step = False
        self._next_eviction_check = 0.0
        while not self._is_closing():
            if self._status.leading:
                self._lead(link)
            else:
                self._look(link)
            self._recovered()
        if self._status.leading:
            self._release(link)

    def _look(self, link: Link) -> None:
        """Take over if nobody leads; else wait."""
        found, another_leads = self._candidate.look(link)
        self._writer.sequence = max(self._writer.sequence, found.sequence)
        if another_leads:
            self._stop_following()
        if self._candidate.may_take_over(found):
            check_eviction(link)
            self._take_over(link, found)
        if not self._status.leading:
            self._changed.wait_for(self._is_closing, self._candidate.pause)

    def _take_over(self, link: Link, found: Picture) -> None:
        if not self._candidate.take_over(link, found):
            return
        term = self._candidate.term
        self._log.info("Leads the fleet %s, in term %d", self._shown, term)
        self._writer.in_step = False
        self._set(leading=True, term=term, since=time.time(), error=None, takeovers=self._status.takeovers + 1)
        if self._followed is None:
            try:
                self._follow()
            except BaseException as error:  # of the application's function; its text may hold anything
                self._hand_over(link, f"its manager cannot be made: {type(error).__name__}", _PATIENCE * self._lease)

    def _follow(self) -> None:
        mirror = Mirror(self._changed.notify_all)
        manager = self._make_manager(mirror)
        manager._observe(mirror)
        manager.start()
        self._followed = manager, mirror
        self._following_since = time.monotonic()

    def _stop_following(self) -> None:
        followed, self._followed = self._followed, None
        if followed is not None:
            followed[0].close()

    def _lead(self, link: Link) -> None:
        """Make a beat if one is due, and write what Redis lacks; if there is nothing to write, wait."""
        if self._followed is None:  # Redis failed while this one handed over
            self._hand_over(link, "it has no manager", _PATIENCE * self._lease)
            return
        manager, mirror = self._followed
        if self._candidate.is_beat_due():
            if not self._beat(link) or not self._is_useful(link, manager, mirror):
                return
            self._check_eviction_again(link)
        if mirror.has_picture and (mirror.is_pending or not self._writer.in_step):
            still_leading = self._writer.write(link, mirror)
            if self._writer.writes != self._status.writes:
                self._set(sequence=self._writer.sequence, writes=self._writer.writes)
            if not still_leading:
                self._lost(link)
        else:
            self._changed.wait_for(lambda: self._closing or mirror.is_pending, self._candidate.until_beat())

    def _beat(self, link: Link) -> bool:
        """Make a beat; return whether this one still leads."""
        found = self._candidate.beat(link)
        if found is None:
            self._lost(link)
            return False
        if self._writer.has_lost(*found):
            self._log.warning("The fleet %s: Redis has lost writes; writing them again", self._shown)
        return True

    def _is_useful(self, link: Link, manager: StreamManager, mirror: Mirror) -> bool:
        """Return whether the stream brings something; if not, hand over to others, which may reach the service."""
        waited = time.monotonic() - self._following_since
        status = manager.status
        why = f": {status.last_error.message}" if status.last_error else ""
        if status.state is StreamState.OFF:
            self._hand_over(link, f"its stream has ended{why}", _PATIENCE * self._lease)
            return False
        if waited > _PATIENCE * self._lease and not mirror.has_picture:
            self._hand_over(link, f"nothing came from the service for {waited:.0f} s{why}", 2 * self._lease)
            return False
        return True

    def _check_eviction_again(self, link: Link) -> None:
        """Report if Redis may evict the configuration by now. It continues to lead, and writes evicted items again."""
        if time.monotonic() < self._next_eviction_check:
            return
        self._next_eviction_check = time.monotonic() + _EVICTION_CHECKS
        try:
            check_eviction(link)
        except EvictionError as error:
            self._eviction = str(error)
            self._report(self._eviction, logging.ERROR)
        else:
            self._withdraw(self._eviction)
            self._eviction = ""

    def _hand_over(self, link: Link, reason: str, wait: float) -> None:
        """Stop leading, and let others lead for this many seconds."""
        self._log.error("Hands over the fleet %s: %s", self._shown, reason)
        self._set(error=reason)
        self._release(link, wait)
        self._stop_following()

    def _lost(self, link: Link) -> None:
        """
        Stop leading. The stream is kept until another leader makes a beat.

        If Redis was emptied, or has an older copy, nobody leads, and everything can be written again at once.
        """
        self._log.warning("No longer leads the fleet %s: another leader took over, or Redis has lost data", self._shown)
        self._set(leading=False, term=0, since=None)
        found = self._candidate.look_after_loss(link)
        if found is not None:
            self._take_over(link, found)

    def _release(self, link: Link, wait: float = 0.0) -> None:
        self._candidate.release(link, wait)
        self._set(leading=False, term=0, since=None)

    def _set(self, **changes: Any) -> None:
        self._status = attrs.evolve(self._status, **changes)
        self._changed.notify_all()
