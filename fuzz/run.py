"""
Fuzzes for a while: ``python fuzz/run.py --seconds 60``, or 3600 for an hour.

Exits with 1 on a finding, which is written to ``fuzz/findings/``; ``python fuzz/run.py --play FILE`` plays it again.
With atheris (``pip install atheris``; Linux) the inputs follow the code that they reach. Where it is not installed,
Hypothesis makes inputs of the same form at random, for the same checks.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

FUZZ = Path(__file__).parent
SEEDS = FUZZ / "seeds"
FINDINGS = FUZZ / "findings"
_LARGEST = 4096  # bytes of an input
_SLOW = 20  # seconds after which one input counts as a finding; it takes a millisecond
_MEMORY = 1024  # MB, the same
_GRACE = 120  # seconds beyond the given ones, after which a process is killed
_EVERY = 30.0  # seconds between two lines of progress
_TAIL = 60  # lines shown of what libFuzzer said of a finding
_PROGRESS = re.compile(r"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)")
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")


def main() -> int:
    """Fuzz, and return the exit status."""
    options = _parser().parse_args()
    if options.play:
        import target

        target.check(options.play.read_bytes())
        return 0
    with ExitStack() as stack:
        corpus: Path = options.corpus or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        corpus.mkdir(parents=True, exist_ok=True)
        FINDINGS.mkdir(exist_ok=True)
        if options.random or not importlib.util.find_spec("atheris"):
            say("Without atheris: Hypothesis makes the inputs, and nothing leads them to new code.")
            command = ["random_inputs.py", str(options.seconds), str(corpus), str(FINDINGS)]
            failed = bool(_run(command, options.seconds, sys.stdout.write))
        else:
            failed = _with_atheris(options.seconds, corpus)
        _run(["lines.py", str(SEEDS), str(corpus)], _GRACE, sys.stdout.write)
    if failed:
        say(f"FINDING: see above. The input is the newest file in {FINDINGS}")
    return int(failed)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Progress:
    """Takes what libFuzzer says, and says the most important of it."""

    def __init__(self) -> None:
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._executed = self._edges = self._features = self._inputs = 0
        self._begin = self._shown = time.monotonic()

    def __str__(self) -> str:
        took = time.monotonic() - self._begin
        figures = f"{self._edges} edges and {self._features} features covered, {self._inputs} inputs kept"
        return f"{took:.0f} s, {self._executed} executions ({self._executed / took:.0f}/s), {figures}"

    def take(self, line: str) -> None:
        """Take a line."""
        self.tail.append(line)
        if found := _PROGRESS.match(line):
            self._executed, self._edges, self._features, self._inputs = map(int, found.groups())
            if time.monotonic() - self._shown > _EVERY:
                self._shown = time.monotonic()
                say(str(self))
        elif found := _EXECUTED.match(line):
            self._executed = int(found[1])


def _with_atheris(seconds: int, corpus: Path) -> bool:
    """Return whether something was found."""
    limits = [f"-max_total_time={seconds}", f"-max_len={_LARGEST}", f"-timeout={_SLOW}", f"-rss_limit_mb={_MEMORY}"]
    files = [f"-dict={FUZZ / 'stream.dict'}", f"-artifact_prefix={FINDINGS}/", str(corpus), str(SEEDS)]
    progress = Progress()
    status = _run(["fuzz_stream.py", *limits, "-print_final_stats=1", *files], seconds, progress.take)
    if status:
        say("".join(progress.tail))
    say(f"atheris: {progress}")
    return bool(status)


def _run(command: Iterable[str], seconds: int, take: Callable[[str], object]) -> int:
    """Run a script of this folder, hand on its lines, and return its status; a process that hangs is killed."""
    script, *arguments = command
    with subprocess.Popen(
        [sys.executable, str(FUZZ / script), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        watchdog = threading.Timer(seconds + _GRACE, process.kill)
        watchdog.start()
        try:
            assert process.stdout
            for line in process.stdout:
                take(line)
        finally:
            watchdog.cancel()
            process.kill()  # nothing happens if it has ended
    return process.returncode


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--seconds", type=int, default=60, help="for how long, default 60")
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="keep the inputs that reach new code, and begin with them"
    )
    parser.add_argument("--random", action="store_true", help="do not use atheris")
    parser.add_argument("--play", type=Path, metavar="FILE", help="play one input, with the traceback")
    return parser


if __name__ == "__main__":
    sys.exit(main())
