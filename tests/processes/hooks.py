"""A configuration of gunicorn: each worker starts a manager of its own right after the fork."""

from __future__ import annotations

from processes.app import following


def post_fork(server: object, worker: object) -> None:
    following()
