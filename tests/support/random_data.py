"""How many random examples a test tries."""

from __future__ import annotations

import os

from hypothesis import settings

ALL = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
SHARE = 3  # of the examples, one in so many is enough for a developer's run, which tries others each time


def examples(count: int, **more: int) -> settings:
    """Return settings with so many examples in ``.ci/run``, and fewer elsewhere."""
    return settings(max_examples=count if ALL else count // SHARE, **more)  # type: ignore[arg-type]
