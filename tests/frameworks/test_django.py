"""Django, under its own server, gunicorn and uvicorn."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from frameworks.conftest import WHERE, Serve
from frameworks.recipes import recipe

from autoconfig.testing import Emulator

WORKERS = 2


@pytest.mark.parametrize("options", [[], ["--noreload"]], ids=["reloader", "noreload"])
def test_runserver(serve: Serve, options: list[str]) -> None:
    serve(sys.executable, "manage.py", "runserver", "{address}", *options).follows(1)


def test_a_command_starts_nothing(serve: Serve, service: Emulator) -> None:
    assert serve(sys.executable, "manage.py", "check").program.ended() == 0
    assert not service.requests


@pytest.mark.parametrize("worker", ["sync", "gthread"])
def test_gunicorn(serve: Serve, worker: str) -> None:
    serve("gunicorn", "-b", "{address}", "-w", str(WORKERS), "-k", worker, "mysite.wsgi").follows(WORKERS)


@pytest.mark.parametrize("options", [["--preload"], []], ids=["preload", "no preload"])
def test_gunicorn_s_hooks(serve: Serve, site: Path, options: list[str]) -> None:
    (site / "gunicorn.conf.py").write_text(recipe(WHERE, "def post_fork", "import following"))
    wsgi = site / "mysite" / "wsgi.py"
    wsgi.write_text(wsgi.read_text().replace("following.start()\n", ""))
    serve("gunicorn", "-b", "{address}", "-w", str(WORKERS), *options, "mysite.wsgi").follows(WORKERS)


def test_both_a_hook_and_the_import(serve: Serve, site: Path) -> None:
    """``start()`` is called twice in each worker then."""
    (site / "gunicorn.conf.py").write_text(recipe(WHERE, "def post_fork", "import following"))
    serve("gunicorn", "-b", "{address}", "-w", str(WORKERS), "mysite.wsgi").follows(WORKERS)


def test_asgi_under_uvicorn(serve: Serve) -> None:
    serve("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--lifespan", "off", "mysite.asgi:application").follows(
        1
    )


def test_asgi_under_gunicorn(serve: Serve) -> None:
    worker = "uvicorn_worker.UvicornWorker"
    serve("gunicorn", "-b", "{address}", "-w", str(WORKERS), "-k", worker, "mysite.asgi").follows(WORKERS)
