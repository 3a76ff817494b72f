"""
What urllib3 logs of its own accord, at DEBUG a line for each request, does not hold the key either.

It does show the query that the caller put into the stream's URI, and what it could not read of an answer's headers:
docs/how-to/logging.md says so.
"""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from safety.check import DONE, check
from safety.log import LogWatch
from safety.story import KEY
from safety.wire import ENDED, Follow, redirect
from support.recorder import Recorder
from support.scripted_server import Item

REDIRECTS: dict[str, list[Item]] = {
    "query": redirect(f"/there?key={KEY}"),
    "path": redirect(f"/there/{KEY}"),
    "quoted": redirect(f"/there?key={KEY.replace('-', '%2D')}"),
    "host": redirect(f"http://{KEY * 2}.invalid/"),  # too long a name to be looked up
    "other origin": redirect(f"http://127.0.0.1:1/there?key={KEY}"),
}


@pytest.mark.parametrize("answer", REDIRECTS.values(), ids=REDIRECTS)
def test_a_redirect_to_a_url_with_the_key_is_not_logged(
    answer: list[Item], stack: ExitStack, follow: Follow, recorder: Recorder, log: LogWatch
) -> None:
    """Whether it is followed or not; so the answer after it may be the second of this attempt or the next one."""
    check([answer, [ENDED], [DONE], [DONE]], recorder, stack, follow, log)
