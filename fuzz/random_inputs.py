"""
The way without atheris: Hypothesis makes inputs, ``python fuzz/random_inputs.py SECONDS CORPUS FINDINGS``.

Half of them are seeds with pieces cut out, put in and doubled, half are streams made of the dictionary's words.
"""

from __future__ import annotations

import ast
import sys
import time
from collections.abc import Callable
from pathlib import Path

import target
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).parent
SEEDS = [path.read_bytes() for path in sorted((FUZZ / "seeds").iterdir())]
WORDS = [
    ast.literal_eval(f"b{line}") for line in (FUZZ / "stream.dict").read_text("utf-8").splitlines() if line[:1] == '"'
]
_ROUND = 500  # inputs between two looks at the clock

PIECES = st.one_of(st.sampled_from(WORDS), st.sampled_from(SEEDS), st.binary(max_size=8))
EDITS = st.tuples(st.integers(0, 2000), st.integers(0, 40), st.one_of(st.sampled_from(WORDS), st.binary(max_size=4)))
CONTROLS = st.binary(min_size=target.CONTROL_BYTES, max_size=target.CONTROL_BYTES)


def edited(stream: bytes, edits: list[tuple[int, int, bytes]], control: bytes) -> bytes:
    """Return the stream with pieces replaced by others."""
    stream = stream[: -target.CONTROL_BYTES]
    for place, length, piece in edits:
        place %= len(stream) + 1
        stream = stream[:place] + piece + stream[place + length :]
    return stream + control


INPUTS = st.one_of(
    st.builds(edited, st.sampled_from(SEEDS), st.lists(EDITS, max_size=6), CONTROLS),
    st.builds(lambda pieces, control: b"".join(pieces) + control, st.lists(PIECES, max_size=20), CONTROLS),
)


def play_round(number: int, run: Callable[[bytes], None]) -> None:
    """Have some hundred inputs played, other ones for each number; one that fails is made small first."""

    @seed(number)
    @settings(max_examples=_ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(INPUTS)
    def play(data: bytes) -> None:
        run(data)

    play()


def main() -> int:
    """Make inputs until the time is over or one is a finding; return the exit status."""
    seconds, corpus, findings = float(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    executed = 0
    last = b""

    def run(data: bytes) -> None:
        nonlocal executed, last
        executed, last = executed + 1, data
        target.check(data)

    begin = time.monotonic()
    rounds = 0
    try:
        for data in SEEDS:
            run(data)
        while time.monotonic() - begin < seconds:
            rounds += 1
            (corpus / f"round-{rounds:06}").write_bytes(last)  # a sample, for the coverage
            play_round(rounds, run)
    except Exception:
        (findings / f"random-{time.time_ns()}").write_bytes(last)
        raise
    took = time.monotonic() - begin
    sys.stdout.write(f"Hypothesis: {took:.0f} s, {executed} executions ({executed / took:.0f}/s)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
