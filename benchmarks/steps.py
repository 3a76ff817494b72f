"""
How many calls, functions and files one patch passes, from the socket to the handler: ``python -m benchmarks.steps``.

Counted by ``sys.setprofile`` in both threads, between the handler's call for one patch and that for the next. Only
calls of this package's Python functions count.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType, SimpleNamespace
from typing import NamedTuple, cast

_PATH = "paced/20/20"  # so slow that each patch comes alone
_SETTLED = 5  # patches that are not counted, for caches to fill


class Steps(NamedTuple):
    """What one patch passes."""

    calls: int
    functions: int
    files: int


def calls_of_one_patch(url: str) -> Counter[CodeType]:
    """Follow a paced stream; return the calls that one of its patches made, of those that made the fewest."""
    import autoconfig
    from autoconfig import MessageHandler, StreamManager

    package = str(Path(autoconfig.__file__).parent)
    changes = int(url.rpartition("/")[2])
    current: Counter[CodeType] = Counter()
    patches: list[Counter[CodeType]] = []
    finished = threading.Event()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(package):
            current[frame.f_code] += 1

    def changed(_: object) -> None:
        nonlocal current
        patches.append(current)
        current = Counter()
        if len(patches) == changes:
            finished.set()

    def ignore(*_: object) -> None:
        """Everything else that the handler is told."""

    handler = SimpleNamespace(
        add_environment=ignore,
        update_environment=changed,
        received_all_environments=ignore,
        delete_environment=ignore,
        add_filter=ignore,
        delete_filter=ignore,
    )
    threading.setprofile(note)
    try:
        with StreamManager("rel-benchmark", url, cast(MessageHandler, handler)):
            threading.setprofile(None)
            finished.wait()
    finally:
        threading.setprofile(None)
    return min(patches[_SETTLED:], key=Counter.total)


def steps_of_one_patch(url: str) -> Steps:
    """Follow a paced stream and count."""
    calls = calls_of_one_patch(url)
    return Steps(calls.total(), len(calls), len({code.co_filename for code in calls}))


def main() -> None:
    """Print each function with its number of calls, and the sums."""
    from .runner import serving

    with serving([_PATH]) as port:
        calls = calls_of_one_patch(f"http://127.0.0.1:{port}/{_PATH}")
    for code, count in sorted(calls.items(), key=lambda item: item[0].co_filename):
        place = Path(code.co_filename)
        print(f"{count:3} {place.parent.name}/{place.name}: {getattr(code, 'co_qualname', code.co_name)}")
    files = {code.co_filename for code in calls}
    print(f"{calls.total()} calls of {len(calls)} functions in {len(files)} files")


if __name__ == "__main__":
    main()
