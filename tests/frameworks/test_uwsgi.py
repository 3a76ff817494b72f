"""uWSGI, which forks after the import of the application or before it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from frameworks.conftest import WHERE, Serve
from frameworks.recipes import recipe

pytestmark = pytest.mark.skipif(shutil.which("uwsgi") is None, reason="needs uWSGI, which has to be compiled")


@pytest.mark.parametrize("options", [[], ["--lazy-apps"]], ids=["preforking", "lazy"])
def test_a_stream_in_each_worker(serve: Serve, site: Path, options: list[str]) -> None:
    wsgi = site / "mysite" / "wsgi.py"
    wsgi.write_text(wsgi.read_text().replace("following.start()\n", "") + recipe(WHERE, "postfork"))
    ordinary = ["uwsgi", "--http-socket", "{address}", "--die-on-term", "--enable-threads", "--need-app"]
    serve(*ordinary, "--module", "mysite.wsgi", "--master", "--processes", "2", *options).follows(2)
