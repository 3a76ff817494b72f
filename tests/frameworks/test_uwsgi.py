"""uWSGI, which forks after the import of the application or before it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from frameworks.conftest import WHERE, Serve
from support.recipes import recipe

pytestmark = pytest.mark.skipif(shutil.which("uwsgi") is None, reason="needs uWSGI, which has to be compiled")


@pytest.mark.parametrize(
    ("options", "workers"),
    [
        (["--master", "--processes", "2"], 2),
        (["--master", "--processes", "2", "--lazy-apps"], 2),
        ([], 1),
        (["--lazy-apps"], 1),
    ],
    ids=["preforking", "lazy", "without a master", "lazy without a master"],
)
def test_a_stream_in_each_worker(serve: Serve, site: Path, options: list[str], workers: int) -> None:
    wsgi = site / "mysite" / "wsgi.py"
    wsgi.write_text(wsgi.read_text().replace("following.start()\n", "") + recipe(WHERE, "postfork"))
    ordinary = ["uwsgi", "--http-socket", "{address}", "--die-on-term", "--enable-threads", "--need-app"]
    serve(*ordinary, "--module", "mysite.wsgi", *options).follows(workers)
