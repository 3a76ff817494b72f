"""The cancel token: it ends every wait of a stream, including system calls on sockets."""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import threading

from ..waiting import SignalSafeCondition


class CancelToken:
    """
    Tells a stream's threads to stop and interrupts what blocks them.

    It holds a duplicate of every socket that the current attempt to connect has opened. Shutting a duplicate down ends
    any system call on the socket at once: connect, handshake, read. The duplicate is never an ``SSLSocket``: shutting
    one of those down would make it hand encrypted bytes to a reader that is just reading.

    Any thread may call :meth:`cancel` and :meth:`wait`; only the reader's thread calls :meth:`watch` and
    :meth:`release`; the thread that cancelled calls :meth:`close` when the reader has ended.

    Attributes:
        cancelled: Whether :meth:`cancel` was called, which cannot be undone.
    """

    def __init__(self) -> None:
        self.cancelled = False  # a plain attribute, because it is read several times for each message
        self._changed = SignalSafeCondition()
        # Keeps close() of a socket apart from shut_down(). Reentrant, because a signal handler may call cancel() inside
        # cancel(); and the reader never waits for it once the token is cancelled, because that handler waits for the
        # reader.
        self._lock = threading.RLock()
        self._sockets: list[_Watched] = []
        self._owned: list[_socket.socket] = []

    def cancel(self) -> None:
        """Stop everything: ends waits and system calls at once, never blocks, and may be called again."""
        self.cancelled = True
        self._changed.notify_all()
        with self._lock:
            for watched in list(self._sockets):
                watched.shut_down()

    def wait(self, timeout: float) -> bool:
        """Wait for this many seconds, or until :meth:`cancel` is called; return whether it was called."""
        return self._changed.wait_for(lambda: self.cancelled, timeout)

    def watch(self, original: socket.socket | int) -> None:
        """
        Let :meth:`cancel` interrupt this socket, from now until :meth:`release`; at once if it was called before.

        Args:
            original: The socket, or the descriptor of one that belongs to somebody else. The former is closed by
                :meth:`release`, unless a TLS socket has taken it over.
        """
        if not isinstance(original, int):  # PySocks' class may be older than what gevent made of socket.socket
            self._owned.append(original)
            original = original.fileno()
        watched = _Watched(original)
        self._owned.append(watched)
        self._sockets.append(watched)  # before the flag is read: either cancel() sees the socket, or we see the flag
        if self.cancelled:
            watched.shut_down()

    def own(self, sock: socket.socket) -> None:
        """Close this socket, too, at the end of the attempt, in case nobody else does."""
        self._owned.append(sock)

    def release(self) -> None:
        """Close what was watched, because the attempt is over; called by the reader."""
        if self._lock.acquire(blocking=not self.cancelled):
            try:
                self.close()
            finally:
                self._lock.release()

    def close(self) -> None:
        """Close what was watched; called when the reader has ended, in case it could not."""
        with self._lock:
            while self._owned:
                self._owned.pop().close()
            self._sockets.clear()

    def abandon(self) -> None:
        """
        In a forked child: release the parent's sockets, so that only the parent decides when they end.

        They are not shut down, which would end the parent's connection, and no lock is waited for, because a thread of
        the parent may have held it. A fork inside a callback leaves the dispatcher running in the child, so the token
        is cancelled there.
        """
        self.cancelled = True
        self._changed.notify_all()
        self._lock = threading.RLock()
        watched, self._sockets, self._owned = self._sockets, [], []
        for one in watched:
            one.abandon()


class _Watched(_socket.socket):
    """
    A duplicate of a socket.

    It extends the base class of ``socket.socket``, which gevent and eventlet do not replace. Their sockets report each
    call to an event loop, and a forked child must not do that before its loop has been renewed.
    """

    def __init__(self, original: int) -> None:
        copied = os.dup(original)
        try:
            super().__init__(fileno=copied)
        except OSError:  # it is not a socket
            os.close(copied)
            raise
        self._original = original

    def shut_down(self) -> None:
        with contextlib.suppress(OSError):  # not connected yet, or no longer
            self.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """
        Close the duplicate, and put a pipe that has ended in the original's place.

        The original's number stays in use, because an event loop may watch it; the owner of the socket closes it.
        """
        with contextlib.suppress(OSError):
            # Otherwise the original was closed, and its number may be in use for something else.
            if os.path.sameopenfile(self.fileno(), self._original):
                ended, writing = os.pipe()
                os.close(writing)
                os.dup2(ended, self._original, inheritable=False)
                os.close(ended)
        self.close()
