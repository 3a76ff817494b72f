"""What the checks of ``autoconfig doctor`` return and raise, and the bound on the time that each may take."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import attrs

from ..stream.cancel import CancelToken
from .outcome import FAILURE

State = Literal["ok", "warn", "fail", "skip"]

PROXY_LOGIN = "Give a user and a password in the proxy's URL: http://USER:PASSWORD@HOST:PORT (percent-encoded)."
"""What to do when a proxy wants to know who asks, which it may do in two of the checks."""


@attrs.frozen
class Finding:
    """
    What a check found.

    Attributes:
        text: What there is.
        fix: What to do about it; ``""`` if nothing has to be done.
        state: ``ok``; ``warn`` for what works and should be looked at; ``fail``; ``skip`` if nothing was checked.
        details: The same for programs.
        code: The exit code that a failure leads to.
    """

    text: str
    fix: str = ""
    state: State = "ok"
    details: Mapping[str, object] = attrs.field(factory=dict)
    code: int = FAILURE


class TroubleError(Exception):
    """
    A check failed, so the remaining checks are pointless.

    Args:
        text: What is wrong.
        fix: What to do about it.
        details: The same for programs.
        code: The exit code.
    """

    def __init__(self, text: str, fix: str, details: Mapping[str, object] | None = None, code: int = FAILURE) -> None:
        super().__init__(text)
        self.finding = Finding(text, fix, "fail", details or {}, code)


@contextmanager
def limited(token: CancelToken, seconds: float, fix: str, complaint: str = "not done") -> Iterator[None]:
    """
    Let the block take at most so many seconds; then what the token watches is interrupted.

    Args:
        token: What interrupts it; of no use any more after that.
        seconds: How many.
        fix: What to do if it takes longer.
        complaint: What is wrong then, but for the time.

    Raises:
        TroubleError: It took longer.
    """
    timer = threading.Timer(seconds, token.cancel)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception:
        if not token.cancelled:
            raise
    finally:
        timer.cancel()
        timer.join()
    if token.cancelled:
        token.release()  # what was watched; before the timer's thread had ended that might not have closed all
        raise TroubleError(f"{complaint} within {seconds:g} s", fix)
