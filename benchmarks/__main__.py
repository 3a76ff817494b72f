"""The command: run the suite, print tables and targets, keep the figures, or compare two sets of them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .plots import draw
from .results import Results, describe_machine
from .runner import Suite
from .scenarios import chosen
from .tables import compare, report
from .targets import check


def main() -> int:
    """Run the command and return its exit status: 1 if a target was missed and ``--strict`` was given."""
    options = _parser().parse_args()
    if options.compare:
        before, after = (Results.load(path) for path in options.compare)
        print(compare(before, after))
        return 0
    if not sys.platform.startswith("linux"):
        raise SystemExit("the benchmarks read /proc, so they need Linux")
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    scenarios = chosen(options.only, options.clients, quick=options.quick)
    machine = describe_machine()
    suite = Suite(
        scenarios,
        rounds=1 if options.quick else options.rounds,
        budget=options.budget,
        idle=3.0 if options.quick else 10.0,
    )
    results = Results(machine, suite.run())
    summary = results.summary()
    verdicts = check(summary)
    print(report(results, scenarios, verdicts))
    if options.json:
        results.save(options.json)
    if options.plots:
        draw(options.plots, scenarios, summary)
    missed = any(verdict.verdict == "MISSED" for verdict in verdicts)
    return 1 if missed and options.strict else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, without what takes long: about a minute")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO", help="name or its beginning; repeat")
    parser.add_argument("--clients", type=_names, default=[], metavar="A,B", help="who takes part; default all")
    parser.add_argument("--rounds", type=int, default=5, help="the most rounds, default 5")
    parser.add_argument("--budget", type=float, default=260.0, help="seconds for all rounds, default 260")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run to a file")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write charts into a folder, as SVG")
    parser.add_argument("--compare", nargs=2, type=Path, metavar=("A", "B"), help="print the ratios of two such files")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return parser


def _names(text: str) -> list[str]:
    return text.split(",")


if __name__ == "__main__":
    sys.exit(main())
