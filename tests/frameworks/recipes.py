"""The code that stands on a page of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"


def recipe(page: str, *texts: str) -> str:
    """Return the one block of Python of a how-to page that contains these texts, to the letter."""
    blocks = re.findall(
        r"^```(?:python|\{testcode\})\n(.*?)^```$", (HOW_TO / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    [found] = [block for block in blocks if all(text in block for text in texts)]
    return found
