"""
Cost of decoding: 10,000 environments against ``json.loads`` of the same text, in five shapes.

``python -m benchmarks.decode [--json FILE]`` (seconds). CPU of this process, in turns; ratios of minima and of medians.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from autoconfig.stream.decoding import decode

from .payloads import put_data

COUNT = 10_000
ROUNDS = 9
SHAPES = {
    "old": "ten old fields",
    "rotating": "ten old fields, an expiring key in each",
    "2026": "both lists of keys",
    "unknown": "both lists, one unknown field in each",
    "unknown-once": "both lists, one unknown field in one",
}


def decode_put(data: bytes) -> None:
    """Decode as the library does; the one place here that knows how."""
    message = decode("put", data)
    assert len(message.environments) == COUNT, "environments were refused"  # type: ignore[union-attr]


def seconds(work: Callable[[], object]) -> float:
    """Return the CPU seconds that the work takes."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def measure(shape: str) -> dict[str, float]:
    """Return milliseconds and ratios for one shape."""
    text = put_data(COUNT, shape)
    data = text.encode()
    pairs = [(seconds(partial(decode_put, data)), seconds(partial(json.loads, text))) for _ in range(ROUNDS)]
    ours, theirs = zip(*pairs, strict=True)
    return {
        "decode": min(ours) * 1e3,
        "json": min(theirs) * 1e3,
        "by minima": min(ours) / min(theirs),
        "by medians": statistics.median(ours) / statistics.median(theirs),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decode", description=__doc__.strip().splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to a file")
    options = parser.parse_args()
    print("| shape | decode ms | json.loads ms | ratio of minima | of medians |\n| --- | --: | --: | --: | --: |")
    found = {}
    for shape, title in SHAPES.items():
        found[title] = measure(shape)
        ours, theirs, by_minima, by_medians = found[title].values()
        print(f"| {title} | {ours:.1f} | {theirs:.1f} | {by_minima:.2f} | {by_medians:.2f} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
