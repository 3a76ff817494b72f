"""The recipes of the pages, with the real servers; run by the tox environment ``frameworks``, which has them all."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from frameworks.recipes import recipe
from support.addresses import free_port
from support.running import Running, get
from support.samples import environment
from support.waiting import wait_until

from autoconfig.testing import Emulator

# Elsewhere they are not even collected, for they would all be skipped.
FRAMEWORKS = ("celery", "django", "fastapi", "uvicorn", "uvicorn_worker")
collect_ignore_glob = [] if all(map(importlib.util.find_spec, FRAMEWORKS)) else ["test_*.py"]

WHERE = "where-to-start-it.md"
NAMES = ["one v1", "two v1"]
SETTINGS = """\
DEBUG = True
SECRET_KEY = "not one"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "mysite.urls"
WSGI_APPLICATION = "mysite.wsgi.application"  # as startproject writes it
"""
URLS = """\
import os

from django.http import JsonResponse
from django.urls import path

import following


def names(request):
    known = [params.identifiers.env_name for params in following.registry]
    return JsonResponse({"pid": os.getpid(), "names": sorted(known), "state": following.manager.status.state.name})


urlpatterns = [path("", names)]
"""
MANAGE = """\
import os
import sys

from django.core.management import execute_from_command_line

os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
execute_from_command_line(sys.argv)
"""


@pytest.fixture
def service() -> Iterator[Emulator]:
    with Emulator([environment("one"), environment("two")]) as service:
        yield service


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Writes a Django project whose ``following.py``, ``wsgi.py`` and ``asgi.py`` are those of the page."""
    (tmp_path / "mysite").mkdir()
    files = {
        "following.py": recipe(WHERE, "registry = EnvironmentRegistry()", "def start()"),
        "manage.py": MANAGE,
        "mysite/__init__.py": "",
        "mysite/settings.py": SETTINGS,
        "mysite/urls.py": URLS,
        "mysite/wsgi.py": recipe(WHERE, "get_wsgi_application()"),
        "mysite/asgi.py": recipe(WHERE, "get_asgi_application()"),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


class Server:
    """
    A program that was started in the site's folder.

    Attributes:
        address: Where it is told to serve: ``{address}`` in its command.
        program: The process.
    """

    def __init__(self, folder: Path, service: Emulator, *command: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        port = self.address.partition(":")[2]
        self.program = Running(
            [part.format(address=self.address, port=port) for part in command],
            {
                **os.environ,
                "AUTO_CONFIG_KEY": service.key,
                "STREAM_URI": service.uri,
                "PYTHONPATH": str(folder),
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
                "PYTHONWARNINGS": "",
            },
            folder,
        )
        self._service = service

    def wait_for_workers(self, count: int, **values: Any) -> None:
        """Request until so many processes have given this answer."""
        said: set[int] = set()

        def all_said() -> bool:
            assert self.program.process.poll() is None, self.program.output
            with suppress(OSError, ValueError):  # it is not serving yet
                _, answer = get(self.address)
                if answer.items() >= values.items():
                    said.add(answer.get("pid", 0))
            return len(said) >= count

        try:
            wait_until(all_said, f"{values} from {count}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said:\n{self.program.output[-3000:]}") from None

    def follows(self, streams: int) -> None:
        """Check that each of so many processes serves, follows changes with a stream of its own, and ends it."""
        self.wait_for_workers(streams, names=NAMES)
        assert self._service.connections == streams
        self._service.set_environment(environment("one", 2))
        self.wait_for_workers(streams, names=["one v2", NAMES[1]])
        self.stops(streams)

    def stops(self, streams: int) -> None:
        """End it as an operating system does, and check that no more streams were opened than so many."""
        self.program.terminate()
        self.program.ended()
        self._service.wait_for_connections(0, 30)
        assert len(self._service.requests) == streams, self.program.output
        assert "Traceback" not in self.program.output


Serve = Callable[..., Server]
"""Starts a program: ``serve(*command)``; in it, ``{address}`` and ``{port}`` are replaced."""


@pytest.fixture
def serve(site: Path, service: Emulator) -> Iterator[Serve]:
    with ExitStack() as closing:

        def serve(*command: str) -> Server:
            server = Server(site, service, *command)
            closing.callback(server.program.close)
            return server

        yield serve
