"""Stop: one signal for every wait of a stream, including those inside the operating system."""

from __future__ import annotations

import contextlib
import os
import socket
import threading


class Latch:
    """
    A flag that is set once and can be waited for.

    Unlike ``threading.Event`` it may be set by a signal handler: it has no section in which a second ``set()`` by the
    same thread would wait for the first one for ever.

    Attributes:
        is_set: Whether :meth:`set` was called.
    """

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.Lock()  # held until set() is called
        self._lock.acquire()

    def set(self) -> None:
        """Set the flag and wake everyone who waits for it."""
        self.is_set = True
        with contextlib.suppress(RuntimeError):  # released before
            self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds, or for ever, or until the flag is set; return whether it is."""
        if not self.is_set and self._lock.acquire(timeout=-1 if timeout is None else timeout):
            self.set()  # lets the next one who waits through
        return self.is_set


class CancelToken:
    """
    Tells a stream's threads to stop and interrupts what blocks them.

    It holds a duplicate of every socket that the current attempt to connect has opened. Shutting a duplicate down ends
    any system call on the socket at once: connect, handshake, read. A duplicate, because that is never an
    ``SSLSocket``: shutting one of those down makes it hand encrypted bytes to a reader that is busy at the moment.

    Any thread may call :meth:`cancel` and :meth:`wait`; only the reader's thread calls :meth:`watch` and
    :meth:`release`.
    """

    def __init__(self) -> None:
        self._cancelled = Latch()
        self._lock = (
            threading.RLock()
        )  # guards _sockets; reentrant, because a signal handler may call cancel() inside cancel()
        self._sockets: list[tuple[socket.socket, int]] = []  # duplicates, and the descriptors of the originals

    @property
    def cancelled(self) -> bool:
        """Whether :meth:`cancel` was called. There is no way back."""
        return self._cancelled.is_set

    def cancel(self) -> None:
        """Stop everything: ends waits and system calls at once, never blocks, and may be called again."""
        with self._lock:
            self._cancelled.set()
            for duplicate, _ in self._sockets:
                _shut_down(duplicate)

    def wait(self, timeout: float) -> bool:
        """Wait so many seconds, or less if :meth:`cancel` is called; return whether it was."""
        return self._cancelled.wait(timeout)

    def watch(self, descriptor: int) -> None:
        """Let :meth:`cancel` interrupt this socket, from now until :meth:`release`; at once if it was called before."""
        copied = os.dup(descriptor)
        try:
            duplicate = socket.socket(fileno=copied)
        except OSError:  # it is no socket
            os.close(copied)
            raise
        with self._lock:
            self._sockets.append((duplicate, descriptor))
            if self.cancelled:
                _shut_down(duplicate)

    def release(self) -> None:
        """Close the duplicates, because the attempt is over."""
        with self._lock:
            while self._sockets:
                self._sockets.pop()[0].close()

    def abandon(self) -> None:
        """
        In a forked child: close its descriptors of the parent's sockets, so that the parent alone says when they end.

        They are not shut down, which would end the parent's connection, and no lock is waited for, because a thread of
        the parent may have held it.
        """
        self._lock = threading.RLock()
        for duplicate, original in self._sockets:
            with contextlib.suppress(OSError):
                if os.path.sameopenfile(duplicate.fileno(), original):  # else it was closed, and its number used again
                    os.close(original)
            duplicate.close()
        self._sockets = []


def _shut_down(duplicate: socket.socket) -> None:
    with contextlib.suppress(OSError):  # not connected yet, or no longer
        duplicate.shutdown(socket.SHUT_RDWR)
