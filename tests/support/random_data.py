"""How many random examples a test tries, and how often it repeats what goes wrong once in many times."""

from __future__ import annotations

import os

from hypothesis import settings

ALL = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
SHARE = 3  # of the examples, one in so many is enough for a developer's run, which tries others each time


def examples(count: int, **more: int) -> settings:
    """Return settings with so many examples in ``.ci/run``, and fewer elsewhere."""
    return settings(max_examples=repetitions(count), **more)  # type: ignore[arg-type]


def repetitions(count: int) -> int:
    """Return this number in ``.ci/run``, and a smaller one elsewhere."""
    return count if ALL else count // SHARE
